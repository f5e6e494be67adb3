// Tensor, DType and Device.
#include <pybind11/functional.h>

#include "cnnx/transfer.h"
#include "numpy.h"

namespace cnnx::bindings {

void bind_creation(py::module_& m);  // bind_creation.cpp

namespace {

/// Python's number, NumPy array or nested list as a tensor to compute with x; undefined if it is none of these.
Tensor operand(const Tensor& x, py::handle other) {
  if (py::isinstance<Tensor>(other)) return other.cast<Tensor>();
  if (PyBool_Check(other.ptr())) return full({}, other.cast<bool>(), {x.dtype(), x.device()});
  if (PyLong_Check(other.ptr())) {
    if (is_floating(x.dtype())) {
      const double value = PyLong_AsDouble(other.ptr());
      if (value == -1 && PyErr_Occurred()) throw py::error_already_set();  // OverflowError, as for float + int
      return full({}, value, {x.dtype(), x.device()});
    }
    int64_t value = 0;
    load_integer(other, value);
    return full({}, value, {DType::kInt64, x.device()});
  }
  if (PyFloat_Check(other.ptr())) {
    return full({}, other.cast<double>(), {is_floating(x.dtype()) ? x.dtype() : DType::kFloat32, x.device()});
  }
  if (py::isinstance<py::array>(other) || py::hasattr(other, "__array__")) {
    return tensor_from_array(as_array(other), std::nullopt).to(x.device());
  }
  return {};
}

using BinaryFn = Tensor (*)(const Tensor&, const Tensor&);

/// fn(x, other), or fn(other, x) when reflected; NotImplemented for operands of other kinds.
py::object apply_binary(BinaryFn fn, const Tensor& x, py::handle other, bool reflected) {
  const Tensor y = operand(x, other);
  if (!y.defined()) return py::reinterpret_borrow<py::object>(Py_NotImplemented);
  Tensor result;
  {
    const py::gil_scoped_release nogil;
    result = reflected ? fn(y, x) : fn(x, y);
  }
  return py::cast(std::move(result));
}

/// Refuses results that x cannot hold: fractions among integers, numbers among booleans.
void check_holds(const Tensor& x, const Tensor& y, bool divides) {
  const auto kind = [](DType dtype) { return is_floating(dtype) ? DType::kFloat32 : dtype; };
  const DType wanted = divides ? DType::kFloat32 : kind(y.dtype());
  if (wanted <= kind(x.dtype())) return;
  const std::string ours(dtype_name(x.dtype())), theirs(dtype_name(wanted));
  throw std::invalid_argument("[in-place] a tensor of " + ours + " cannot hold a " + theirs +
                              " result. Write x = x op y, or convert the tensor with .to(\"" + theirs + "\") before.");
}

/// x op= other: in place where no gradient is involved, else a new tensor (a leaf that requires one is refused).
py::object apply_in_place(BinaryFn fn, py::object self, py::handle other) {
  auto& x = self.cast<Tensor&>();
  const Tensor y = operand(x, other);
  if (!y.defined()) return py::reinterpret_borrow<py::object>(Py_NotImplemented);
  check_holds(x, y, fn == div);
  if (is_grad_enabled() && x.requires_grad() && x.is_leaf()) {
    throw std::runtime_error(
        "[in-place] a leaf that requires a gradient cannot be changed in place. Do it under no_grad().");
  }
  if (is_grad_enabled() && (x.requires_grad() || y.requires_grad())) return py::cast(fn(x, y));
  {
    const py::gil_scoped_release nogil;
    x.copy_(fn(x, y));
  }
  return self;
}

template <Comparison kComparison>
Tensor compare_with(const Tensor& a, const Tensor& b) {
  return compare(kComparison, a, b);
}

std::vector<int> axes_of(const py::object& axis) {
  if (axis.is_none()) return {};
  std::vector<int64_t> values;
  int64_t one = 0;
  if (load_integer(axis, one)) {
    values = {one};
  } else if (!load_integers(axis, values)) {
    throw py::type_error("axis must be an int, a tuple of ints or None; got " + py::repr(axis).cast<std::string>());
  }
  std::vector<int> axes;
  for (const int64_t value : values) {
    if (value < -Shape::kMaxRank || value >= Shape::kMaxRank) {
      throw std::out_of_range("[axis] axis must lie within the tensor's rank; got " + std::to_string(value) + ".");
    }
    axes.push_back(static_cast<int>(value));
  }
  return axes;
}

/// NumPy and torch have two names for one argument.
void check_one_name(bool has_axis, bool has_dim) {
  if (has_axis && has_dim)
    throw std::invalid_argument("[axis] axis and dim are two names of one argument; got both. Pass one of them.");
}

using ReduceFn = Tensor (*)(const Tensor&, std::span<const int>, bool);

/// A reduction with NumPy's arguments; torch's names dim and keepdim are accepted as well.
template <class Class>
void def_reduction(Class& cls, const char* name, ReduceFn fn, const char* doc) {
  cls.def(
      name,
      [fn](const Tensor& x, const py::object& axis, bool keepdims, const py::object& dim, bool keepdim) {
        check_one_name(!axis.is_none(), !dim.is_none());
        const std::vector<int> axes = axes_of(axis.is_none() ? dim : axis);
        const py::gil_scoped_release nogil;
        return fn(x, axes, keepdims || keepdim);
      },
      py::arg("axis") = py::none(), py::arg("keepdims") = false, py::kw_only(), py::arg("dim") = py::none(),
      py::arg("keepdim") = false, doc);
}

py::object item_of(const Tensor& given) {
  const Tensor x = on_host(given);
  if (x.dtype() == DType::kBool) return py::bool_(x.item() != 0);
  if (x.dtype() == DType::kInt64) return py::int_(x.item_int());
  return py::float_(x.item());
}

Tensor get_item(const Tensor& x, const py::object& key) {
  int64_t index = 0;
  if (load_integer(key, index)) return x.select(index);
  if (py::isinstance<py::slice>(key)) {
    Py_ssize_t start = 0, stop = 0, step = 0;
    if (PySlice_Unpack(key.ptr(), &start, &stop, &step) < 0) throw py::error_already_set();
    if (x.rank() == 0) throw std::out_of_range("[index] a tensor without axes cannot be sliced. Use item().");
    const Py_ssize_t count = PySlice_AdjustIndices(x.size(0), &start, &stop, step);
    if (step < 0) return x.index_rows(arange(start, start + count * step, step, {DType::kInt64}));
    return x.slice(start, stop, step);
  }
  Tensor rows;
  if (py::isinstance<Tensor>(key)) {
    rows = key.cast<Tensor>();
  } else if (py::isinstance<py::array>(key) || py::isinstance<py::list>(key)) {
    const bool empty_list = py::isinstance<py::list>(key) && py::len(key) == 0;  // of no dtype; NumPy's is float64
    rows = tensor_from_array(as_array(key), empty_list ? std::optional(DType::kInt64) : std::nullopt);
  }
  if (rows.defined() && rows.dtype() == DType::kBool && rows.rank() == 1) {
    if (x.rank() == 0 || rows.size(0) != x.size(0))
      throw std::out_of_range("[index] a mask must have the length of the first axis.");
    const py::array indices = py::module_::import("numpy").attr("flatnonzero")(array_from_tensor(rows));
    rows = tensor_from_array(indices, DType::kInt64);
  }
  if (!rows.defined() || rows.dtype() != DType::kInt64) {
    throw std::out_of_range(
        "[index] tensors are indexed on the first axis, by an int, a slice, int64 rows or a mask; got " +
        py::repr(key).cast<std::string>() + ". Use .numpy() for other indexing.");
  }
  return x.index_rows(rows);
}

void bind_dtype_and_device(py::module_& m) {
  py::class_<DType> dtype(
      m, "DType",
      R"(An element type: cnnx.float32, float64, int64 or bool. Compares equal to its name and to NumPy's dtype.

Example:
    >>> import cnnx
    >>> cnnx.zeros(2).dtype == "float32", cnnx.float64.itemsize
    (True, 8)
)");
  dtype.def("__repr__", [](DType t) { return "cnnx." + std::string(dtype_name(t)); })
      .def("__str__", [](DType t) { return std::string(dtype_name(t)); })
      .def("__eq__",
           [](DType a, const py::object& b) {
             DType other{};
             try {
               return load_dtype(b, other) && other == a;
             } catch (const std::invalid_argument&) {
               return false;
             }
           })
      .def("__hash__", [](DType t) { return py::hash(py::str(std::string(dtype_name(t)))); })
      .def("__reduce__",
           [](DType t) -> py::tuple {
             return py::make_tuple(py::object(py::module_::import("cnnx._core").attr("_dtype")),
                                   py::make_tuple(std::string(dtype_name(t))));
           })
      .def_property_readonly(
          "name", [](DType t) { return std::string(dtype_name(t)); }, "The dtype's name.")
      .def_property_readonly(
          "itemsize", [](DType t) { return dtype_size(t); }, "Bytes of one value.")
      .def_property_readonly(
          "dtype", [](DType t) { return py::dtype(std::string(dtype_name(t))); }, "The NumPy dtype.");
  m.attr("float32") = DType::kFloat32;
  m.attr("float64") = DType::kFloat64;
  m.attr("int64") = DType::kInt64;
  m.attr("bool") = DType::kBool;
  m.def("_dtype", [](const std::string& name) { return parse_dtype(name); });

  py::class_<Device>(m, "Device",
                     R"(Where a tensor lives: "cpu", "cuda", "cuda:N" or "meta". Compares equal to its name.

Tensors on "meta" have shapes but no values, and take no memory. As a context manager the device stands in for "cpu", on
this thread: what is made in the block is made there.

Example:
    >>> import cnnx
    >>> with cnnx.Device("meta"):
    ...     scores = cnnx.models.vgg16()(cnnx.empty(64, 3, 224, 224))
    >>> scores.shape, str(scores.device)
    ((64, 1000), 'meta')
)")
      .def(py::init([](const std::string& name) { return Device(name); }), py::arg("name"))
      .def("__repr__", [](const Device& d) { return "Device(\"" + d.str() + "\")"; })
      .def("__str__", &Device::str)
      .def("__eq__",
           [](const Device& a, const py::object& b) {
             if (py::isinstance<Device>(b)) return a == b.cast<Device>();
             if (!py::isinstance<py::str>(b)) return false;
             return a.str() == b.cast<std::string>() ||
                    (a.index == 0 && b.cast<std::string>() == "cuda" && a.is_cuda());
           })
      .def("__hash__", [](const Device& d) { return py::hash(py::str(d.str())); })
      .def_property_readonly(
          "type", [](const Device& d) { return d.is_cuda() ? "cuda" : d.str(); }, "\"cpu\", \"cuda\" or \"meta\".")
      .def("__enter__", [](const Device& d) { enter_guard<DeviceGuard>(d); })
      .def("__exit__", [](const Device&, const py::args&) { exit_guard<DeviceGuard>(); })
      .def_property_readonly("index", [](const Device& d) { return d.index; }, "Number of the device.");
}

template <class Class>
void bind_operators(Class& cls) {
  const auto binary = [&](const char* name, const char* reflected, const char* in_place, BinaryFn fn) {
    cls.def(name, [fn](const Tensor& x, py::handle other) { return apply_binary(fn, x, other, false); });
    cls.def(reflected, [fn](const Tensor& x, py::handle other) { return apply_binary(fn, x, other, true); });
    if (in_place)
      cls.def(in_place, [fn](py::object self, py::handle other) { return apply_in_place(fn, std::move(self), other); });
  };
  binary("__add__", "__radd__", "__iadd__", add);
  binary("__sub__", "__rsub__", "__isub__", sub);
  binary("__mul__", "__rmul__", "__imul__", mul);
  binary("__truediv__", "__rtruediv__", "__itruediv__", div);
  binary("__pow__", "__rpow__", nullptr, pow);
  binary("__matmul__", "__rmatmul__", nullptr, matmul);
  const auto comparison = [&](const char* name, BinaryFn fn) {
    cls.def(name, [fn](const Tensor& x, py::handle other) { return apply_binary(fn, x, other, false); });
  };
  comparison("__eq__", compare_with<Comparison::kEq>);
  comparison("__ne__", compare_with<Comparison::kNe>);
  comparison("__lt__", compare_with<Comparison::kLt>);
  comparison("__le__", compare_with<Comparison::kLe>);
  comparison("__gt__", compare_with<Comparison::kGt>);
  comparison("__ge__", compare_with<Comparison::kGe>);
  cls.def("__hash__", [](const Tensor& x) { return py::hash(py::int_(reinterpret_cast<uintptr_t>(x.impl().get()))); });
  cls.def("__neg__", [](const Tensor& x) { return neg(x); }, NoGil());
  cls.def("__abs__", [](const Tensor& x) { return cnnx::abs(x); }, NoGil());
}

template <class Class>
void bind_gradients(Class& cls) {
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
            const py::gil_scoped_release nogil;
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

template <class Class>
void bind_shape_methods(Class& cls) {
  cls.def(
         "reshape", [](const Tensor& x, const py::args& shape) { return x.reshape(shape_argument(shape)); },
         "The same values in another shape; one length may be -1. Shares memory.")
      .def("flatten", &Tensor::flatten, py::arg("start_dim") = 0, py::arg("end_dim") = -1,
           "Merges a run of axes into one. Shares memory.")
      .def("squeeze", &Tensor::squeeze, py::arg("dim"), "Drops an axis of length 1. Shares memory.")
      .def("unsqueeze", &Tensor::unsqueeze, py::arg("dim"), "Adds an axis of length 1. Shares memory.")
      .def("transpose", &Tensor::transpose, py::arg("dim0"), py::arg("dim1"), NoGil(),
           "A copy with two axes exchanged.")
      .def_property_readonly(
          "T",
          [](const Tensor& x) {
            if (x.rank() != 2)
              throw std::invalid_argument("[T] expected a matrix; got shape " + x.shape().str() +
                                          ". Use transpose(a, b).");
            return x.transpose(0, 1);
          },
          "The transposed matrix, a copy.")
      .def("__getitem__", get_item)
      .def("__setitem__",
           [](Tensor& x, const py::object& key, py::handle value) {
             if (is_grad_enabled() && x.requires_grad()) {
               throw std::runtime_error(
                   "[setitem] a tensor that requires a gradient cannot be written in place. Do it under no_grad().");
             }
             const Tensor source = operand(x, value);
             if (!source.defined())
               throw py::type_error("expected numbers; got " + py::repr(value).cast<std::string>());
             if (is_grad_enabled() && source.requires_grad()) {
               throw std::runtime_error(
                   "[setitem] writing in place is not recorded, so no gradient would reach the value. Build the result "
                   "with concat or by arithmetic, or assign value.detach().");
             }
             Tensor changed = x.detach().clone();
             array_from_tensor(changed)[key] = array_from_tensor(source);
             x.copy_(changed);
           })
      .def("__len__",
           [](const Tensor& x) {
             if (x.rank() == 0) throw py::type_error("a tensor without axes has no length");
             return x.size(0);
           })
      .def("__iter__", [](const Tensor& x) {
        if (x.rank() == 0) throw py::type_error("a tensor without axes cannot be iterated");
        py::list rows;
        for (int64_t i = 0; i < x.size(0); ++i) rows.append(x.select(i));
        return py::iter(rows);
      });
}

template <class Class>
void bind_values(Class& cls) {
  def_reduction(cls, "sum", sum, "Sum over the given axes (default all). Integers and booleans sum to int64.");
  def_reduction(cls, "mean", mean, "Mean over the given axes (default all); float32 for integers and booleans.");
  def_reduction(cls, "max", max,
                "Largest value over the given axes (default all). The gradient goes to the first largest.");
  def_reduction(cls, "min", min,
                "Smallest value over the given axes (default all). The gradient goes to the first smallest.");
  cls.def(
         "argmax",
         [](const Tensor& x, std::optional<int> axis, bool keepdims, std::optional<int> dim, bool keepdim) {
           check_one_name(axis.has_value(), dim.has_value());
           return argmax(x, axis ? axis : dim, keepdims || keepdim);
         },
         py::arg("axis") = py::none(), py::arg("keepdims") = false, py::kw_only(), py::arg("dim") = py::none(),
         py::arg("keepdim") = false, NoGil(),
         "Position of the first largest value along an axis, or in the flattened tensor. int64.")
      .def(
          "exp", [](const Tensor& x) { return cnnx::exp(x); }, NoGil(), "Element-wise e^x.")
      .def(
          "log", [](const Tensor& x) { return cnnx::log(x); }, NoGil(), "Element-wise natural logarithm.")
      .def(
          "sqrt", [](const Tensor& x) { return cnnx::sqrt(x); }, NoGil(), "Element-wise square root.")
      .def(
          "abs", [](const Tensor& x) { return cnnx::abs(x); }, NoGil(), "Element-wise absolute value.")
      .def(
          "clip",
          [](const Tensor& x, std::optional<Scalar> low, std::optional<Scalar> high) { return clip(x, low, high); },
          py::arg("min") = py::none(), py::arg("max") = py::none(), NoGil(), "Element-wise limit to [min, max].")
      .def("item", item_of, "The single value as a Python number.")
      .def(
          "tolist", [](const Tensor& x) { return array_from_tensor(x).attr("tolist")(); },
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

template <class Class>
void bind_exchange(Class& cls) {
  cls.def("numpy", array_from_tensor,
          "A NumPy array on the same memory (a copy from the GPU). Writing to it bypasses the tape.")
      .def(
          "__array__",
          [](const Tensor& x, const py::object& dtype, const py::object& copy) -> py::object {
            py::object array = array_from_tensor(x);
            const bool converts = !dtype.is_none() && !py::object(array.attr("dtype")).equal(dtype);
            const bool shares = !converts && x.device() == Device();
            if (!copy.is_none() && !copy.cast<bool>() && !shares)
              throw py::value_error("[array] another dtype or device needs a copy; got copy=False. Pass copy=None.");
            if (converts) return array.attr("astype")(dtype);
            return shares && !copy.is_none() && copy.cast<bool>() ? array.attr("copy")() : array;
          },
          py::arg("dtype") = py::none(), py::arg("copy") = py::none())
      .def(
          "__dlpack__",
          [](const Tensor& x, const py::object& stream, const py::object&, const py::object& dl_device,
             const py::object& copy) { return lend(x, stream, dl_device, copy); },
          py::kw_only(), py::arg("stream") = py::none(), py::arg("max_version") = py::none(),
          py::arg("dl_device") = py::none(), py::arg("copy") = py::none(),
          "A DLPack capsule on the same memory, or on a copy's if asked for. On a GPU the consumer's stream "
          "(None: CUDA's default one) waits until the values are there.")
      .def("__dlpack_device__", dlpack_device)
      .def(
          "to",
          [](const Tensor& x, const py::object& target, bool non_blocking) {
            const auto move = [&](Device device) {
              const py::gil_scoped_release nogil;
              return x.to(device, non_blocking);
            };
            if (py::isinstance<Device>(target)) return move(target.cast<Device>());
            if (py::isinstance<py::str>(target)) {
              const auto name = target.cast<std::string>();
              if (name.starts_with("cpu") || name.starts_with("cuda") || name == "meta") return move(Device(name));
            }
            DType dtype{};
            if (!load_dtype(target, dtype))
              throw py::type_error("expected a dtype or a device; got " + py::repr(target).cast<std::string>());
            return x.to(dtype);
          },
          py::arg("target"), py::arg("non_blocking") = false,
          "The tensor converted to a dtype or moved to a device; itself if nothing changes. From page-locked memory "
          "to a GPU, non_blocking returns before the copy is made: leave the tensor as it is until then.")
      .def("pin_memory", pin_memory, NoGil(),
           "The tensor in page-locked memory, which a GPU reads by itself; itself if it is there.")
      .def("is_pinned", is_pinned, "Whether the tensor is in page-locked memory.")
      .def("clone", &Tensor::clone, NoGil(), "A copy; gradients flow through it.")
      .def(
          "copy_",
          [](py::object self, const Tensor& source) {
            self.cast<Tensor&>().copy_(source);
            return self;
          },
          py::arg("source"), "Overwrites the values in place with those of a tensor of the same shape.")
      .def(
          "fill_",
          [](py::object self, Scalar value) {
            self.cast<Tensor&>().fill_(value);
            return self;
          },
          py::arg("value"), "Overwrites all values in place.")
      .def("__deepcopy__",
           [](const Tensor& x, const py::dict&) {
             const py::gil_scoped_release nogil;
             Tensor copy = x.detach().clone();
             if (!x.is_leaf()) return copy;
             copy.set_requires_grad(x.requires_grad());
             if (const Tensor grad = x.grad(); grad.defined()) copy.set_grad(grad.clone());
             return copy;
           })
      .def("__reduce__", [](const Tensor& x) -> py::tuple {
        return py::make_tuple(py::object(py::module_::import("cnnx._core").attr("tensor")),
                              py::make_tuple(array_from_tensor(x), std::string(dtype_name(x.dtype())), x.device().str(),
                                             x.requires_grad() && x.is_leaf()));
      });
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
  py::class_<Tensor> cls(m, "Tensor",
                         R"(A row-major array of float32, float64, int64 or bool, with an optional gradient record.

Images are (N, C, H, W). Arithmetic broadcasts as NumPy's does, with numbers and arrays, too. Indexing is on the first axis: by
an integer, a slice, int64 rows or a boolean mask; for more, numpy() is the same memory.

Example:
    >>> import cnnx
    >>> x = cnnx.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> x * 10 + cnnx.tensor([0.5, 0.0])
    tensor([[10.5, 20.],
            [30.5, 40.]])
    >>> x[1].tolist(), x.numpy()[:, 0].tolist()
    ([3.0, 4.0], [1.0, 3.0])
)",
                         py::is_final(),
                         py::custom_type_setup([](PyHeapTypeObject* heap) { forget_object(&heap->ht_type); }));
  cls.attr("__array_priority__") = 1000;
  cls.attr("__array_ufunc__") = py::none();  // NumPy leaves array * tensor to Tensor.__rmul__
  cls.def_property_readonly(
         "shape", [](const Tensor& x) { return x.shape(); }, "Axis lengths.")
      .def_property_readonly("ndim", &Tensor::rank, "Number of axes.")
      .def_property_readonly("size", &Tensor::numel, "Number of values.")
      .def("numel", &Tensor::numel, "Number of values.")
      .def_property_readonly("dtype", &Tensor::dtype, "Element type.")
      .def_property_readonly("device", &Tensor::device, "Where the values are.")
      .def("__repr__", &Tensor::str);
  bind_operators(cls);
  bind_gradients(cls);
  bind_shape_methods(cls);
  bind_values(cls);
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
