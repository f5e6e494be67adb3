// Tensor: its gradients, its values as Python's numbers, and the module's functions on it.
#include "tensor_class.h"

namespace cnnx::bindings {

void bind_dtype_and_device(py::module_& m);  // bind_dtype.cpp
void bind_creation(py::module_& m);          // bind_creation.cpp

namespace {

py::object item_of(const Tensor& given) {
  const Tensor x = on_host(given);
  if (x.dtype() == DType::kBool) return py::bool_(x.item() != 0);
  if (x.dtype() == DType::kInt64) return py::int_(x.item_int());
  return py::float_(x.item());
}

void bind_numbers(TensorClass& cls) {
  cls.def("item", item_of, "The single value as a Python number.")
      .def(
          "tolist", [](const Tensor& x) { return array_from_tensor(for_numpy(x)).attr("tolist")(); },
          "The values as nested lists.")
      .def("__bool__",
           [](const Tensor& x) {
             if (x.numel() != 1) {
               throw std::invalid_argument("[bool] the truth value of a tensor of shape " + x.shape().str() +
                                           " is ambiguous. Reduce it first.");
             }
             return on_host(x).item() != 0;
           })
      .def("__float__", [](const Tensor& x) { return on_host(x).item(); })
      .def(
          "__format__",
          [](const Tensor& x, const std::string& spec) {
            const py::object value = x.numel() == 1 && !spec.empty() ? item_of(x) : py::str(x.str());
            return py::str(value.attr("__format__")(spec));
          },
          py::arg("format_spec"))
      .def("__int__", [](const Tensor& x) { return py::int_(item_of(x)); })
      .def("__index__", [](const Tensor& x) {
        if (x.dtype() != DType::kInt64 || x.numel() != 1)
          throw py::type_error("only an int64 tensor of one element is an index");
        return x.item_int();
      });
}

void bind_gradients(TensorClass& cls) {
  cls.def_property("requires_grad", &Tensor::requires_grad,
                   setter<Tensor>("requires_grad", [](Tensor& x, bool on) { x.set_requires_grad(on); }),
                   "Whether a gradient flows to this tensor. Settable on leaves.")
      .def(
          "requires_grad_",
          [](py::object self, bool on) {
            self.cast<Tensor&>().set_requires_grad(on);
            return self;
          },
          py::arg("requires_grad") = true, "Sets requires_grad and returns the tensor.")
      .def_property(
          "grad", [](const Tensor& x) { return or_none(x.grad()); },
          [](Tensor& x, const std::optional<Tensor>& grad) { x.set_grad(or_undefined(grad)); },
          "The accumulated gradient of a leaf, or None.")
      .def_property_readonly("is_leaf", &Tensor::is_leaf,
                             "Whether the tensor was not computed by a recorded operation.")
      .def(
          "backward",
          [](const Tensor& x, const std::optional<Tensor>& gradient, bool retain_graph) {
            const GilRelease nogil;
            x.backward(or_undefined(gradient), retain_graph);
          },
          py::arg("gradient") = py::none(), py::arg("retain_graph") = false,
          R"(Adds the gradient of this tensor with respect to every leaf to the leaf's ``grad``.

Args:
    gradient: the gradient of some scalar with respect to this tensor; needed unless it has one element.
    retain_graph: keep the saved values, so that backward can run again.

Raises:
    RuntimeError: under no_grad, without a gradient record, for a non-scalar without ``gradient``, or when an
        earlier backward freed the saved values.

Example:
    >>> import cnnx
    >>> x = cnnx.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
)")
      .def("detach", &Tensor::detach, "The same values without a gradient record; shares memory.");
}

/// Tells the tensor that its Python object is gone.
void forget_object(PyTypeObject* type) {
  type->tp_dealloc = [](PyObject* self) {
    if (const void* value = reinterpret_cast<py::detail::instance*>(self)->get_value_and_holder().value_ptr()) {
      if (const auto& tensor = *static_cast<const Tensor*>(value); tensor.defined()) tensor.binding() = nullptr;
    }
    Py_TYPE(self)->tp_base->tp_dealloc(self);  // pybind11's, which this one stands in for
  };
}

}  // namespace

void bind_tensor(py::module_& m) {
  bind_dtype_and_device(m);
  py::class_<Tensor> cls(
      m, "Tensor",
      R"(A row-major array of float32, float64, float16, bfloat16, int64 or bool, with an optional gradient record.

Images are (N, C, H, W). Arithmetic broadcasts as NumPy's does, with numbers and arrays, too. Indices are NumPy's: integers,
slices, ``...`` and ``None`` for all axes, or int64 rows for the first ones, or a boolean mask. What is read is a copy. What is
written by integers and slices is recorded: a gradient reaches the value, and what it overwrites gets none. For other indices,
numpy() is the same memory.

Example:
    >>> import cnnx
    >>> x = cnnx.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> x * 10 + cnnx.tensor([0.5, 0.0])
    tensor([[10.5, 20.],
            [30.5, 40.]])
    >>> x[1].tolist(), x[:, 0].tolist(), x[[0, 1], [1, 0]].tolist(), x[x > 2].tolist()
    ([3.0, 4.0], [1.0, 3.0], [2.0, 3.0], [3.0, 4.0])
    >>> x[:, 1] += 0.5
    >>> x
    tensor([[1., 2.5],
            [3., 4.5]])
)",
      py::is_final(), py::custom_type_setup([](PyHeapTypeObject* heap) { forget_object(&heap->ht_type); }));
  cls.attr("__array_priority__") = 1000;
  cls.attr("__array_ufunc__") = py::none();  // NumPy leaves array * tensor to Tensor.__rmul__
  cls.def_property_readonly(
         "shape", [](const Tensor& x) { return x.shape(); }, "Axis lengths.")
      .def_property_readonly("ndim", &Tensor::rank, "Number of axes.")
      .def_property_readonly("size", &Tensor::numel, "Number of values.")
      .def("numel", &Tensor::numel, "Number of values.")
      .def_property_readonly("dtype", &Tensor::dtype, "Element type.")
      .def_property_readonly("device", &Tensor::device, "Where the values are.")
      .def("__repr__", &Tensor::str, NoGil());
  bind_numbers(cls);
  bind_gradients(cls);
  bind_arithmetic(cls);
  bind_reductions(cls);
  bind_indexing(cls);
  bind_exchange(cls);
  bind_creation(m);
  m.def("is_grad_enabled", is_grad_enabled, R"(Whether operations of this thread are recorded on the tape.

Returns:
    False under no_grad.

Example:
    >>> import cnnx
    >>> with cnnx.no_grad():
    ...     cnnx.is_grad_enabled()
    False
)");
  m.def("_set_grad_enabled", set_grad_enabled);
}

}  // namespace cnnx::bindings
