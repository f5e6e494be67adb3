// The functions that create tensors, and the seed of random ones.
#include "numpy.h"

namespace cnnx::bindings {
namespace {

Tensor create(py::handle values, std::optional<DTypeArg> dtype, std::optional<DeviceArg> device, bool requires_grad) {
  const std::optional<DType> target = dtype ? std::optional(dtype->value) : std::nullopt;
  Tensor result;
  if (py::isinstance<Tensor>(values)) {
    const auto source = values.cast<Tensor>().detach();
    result = without_gil([&] { return target && *target != source.dtype() ? source.to(*target) : source.clone(); });
  } else if (result = tensor_from_bfloat16(values); result.defined()) {
    if (target) result = without_gil([&] { return result.to(*target); });
  } else {
    const bool typed = py::hasattr(values, "dtype");
    const py::array array = as_array(values);
    const bool python_floats = !typed && !target && array.dtype().kind() == 'f';  // [1.5, 2] is float32, as in torch
    result = tensor_from_array(array, python_floats ? std::optional(DType::kFloat32) : target);
  }
  if (device) result = without_gil([&] { return result.to(device->value); });
  return result.set_requires_grad(requires_grad);
}

TensorOptions options_of(const DTypeArg& dtype, const std::optional<DeviceArg>& device, bool requires_grad) {
  return {dtype.value, device ? device->value : Device(), requires_grad};
}

Tensor filled(const Shape& shape, Scalar fill_value, const std::optional<DTypeArg>& dtype,
              const std::optional<DeviceArg>& device, bool requires_grad) {
  return full(shape, fill_value, options_of(dtype.value_or(DTypeArg{fill_value.dtype()}), device, requires_grad));
}

Tensor range(Scalar start, std::optional<Scalar> stop, Scalar step, const std::optional<DTypeArg>& dtype,
             const std::optional<DeviceArg>& device, bool requires_grad) {
  const Scalar first = stop ? start : 0, last = stop.value_or(start);
  const DTypeArg natural{std::max({DType::kInt64, first.dtype(), last.dtype(), step.dtype()})};
  return arange(first, last, step, options_of(dtype.value_or(natural), device, requires_grad));
}

void seed_all(const py::object& seed) {
  const auto number = py::reinterpret_steal<py::int_>(PyNumber_Index(seed.ptr()));
  if (!number) throw py::error_already_set();
  const uint64_t value = PyLong_AsUnsignedLongLong(number.ptr());
  if (PyErr_Occurred()) {
    PyErr_Clear();
    throw py::value_error("[manual_seed] seed must lie in [0, 2**64); got " + py::str(number).cast<std::string>() +
                          ".");
  }
  manual_seed(value);
}

template <class F>
void def_creator(py::module_& m, const char* name, F fn, const char* doc) {
  m.def(
      name,
      [fn](const py::args& shape, const DTypeArg& dtype, const std::optional<DeviceArg>& device, bool requires_grad) {
        const Shape sizes = shape_argument(shape);
        const GilRelease nogil;
        return fn(sizes, options_of(dtype, device, requires_grad));
      },
      py::kw_only(), py::arg("dtype") = DTypeArg{}, py::arg("device") = py::none(), py::arg("requires_grad") = false,
      doc);
}

void bind_filled(py::module_& m) {
  def_creator(m, "zeros", zeros, R"(A tensor of zeros.

Args:
    shape: axis lengths, as integers or one tuple.
    dtype: of the values.
    device: "cpu" or "meta".
    requires_grad: record operations on it for backward().

Example:
    >>> import cnnx
    >>> cnnx.zeros(2, 3).shape, cnnx.zeros((2, 3), dtype="int64").dtype
    ((2, 3), cnnx.int64)
)");
  def_creator(m, "ones", ones, R"(A tensor of ones.

Args:
    shape: axis lengths, as integers or one tuple.
    dtype: of the values.
    device: "cpu" or "meta".
    requires_grad: record operations on it for backward().

Example:
    >>> import cnnx
    >>> cnnx.ones(3).tolist()
    [1.0, 1.0, 1.0]
)");
  def_creator(
      m, "empty", [](const Shape& shape, const TensorOptions& options) { return empty(shape, options); },
      R"(A tensor of undefined values, for code that writes them all.

Args:
    shape: axis lengths, as integers or one tuple.
    dtype: of the values.
    device: "cpu" or "meta".
    requires_grad: record operations on it for backward().

Returns:
    A new tensor.

Example:
    >>> import cnnx
    >>> cnnx.empty(2, 3).shape
    (2, 3)
)");
  m.def("full", filled, py::arg("shape"), py::arg("fill_value"), py::kw_only(), py::arg("dtype") = py::none(),
        py::arg("device") = py::none(), py::arg("requires_grad") = false, NoGil(),
        R"(A tensor filled with one value.

Args:
    shape: axis lengths.
    fill_value: the value.
    dtype: of the values; None for that of fill_value: bool, int64 or float32.
    device: "cpu" or "meta".
    requires_grad: record operations on it for backward().

Raises:
    ValueError: for one that does not fit int64.

Example:
    >>> import cnnx
    >>> cnnx.full((2,), 7.0).tolist()
    [7.0, 7.0]
)");
  m.def("arange", range, py::arg("start"), py::arg("stop") = py::none(), py::arg("step") = Scalar(1), py::kw_only(),
        py::arg("dtype") = py::none(), py::arg("device") = py::none(), py::arg("requires_grad") = false, NoGil(),
        R"(Evenly spaced values.

Args:
    start: the first value; alone, where to stop, beginning with 0.
    stop: where to stop; not included.
    step: from one value to the next.
    dtype: of the values; None for int64 if all three numbers are integers, else float32.
    device: "cpu" or "meta".
    requires_grad: record operations on it for backward().

Raises:
    ValueError: for a step of 0.

Example:
    >>> import cnnx
    >>> cnnx.arange(3).tolist(), cnnx.arange(0, 1, 0.25).tolist()
    ([0, 1, 2], [0.0, 0.25, 0.5, 0.75])
)");
}

void bind_random(py::module_& m) {
  def_creator(m, "rand", rand, R"(Uniform random values in [0, 1), from the generator that manual_seed seeds.

Args:
    shape: axis lengths, as integers or one tuple.
    dtype: of the values.
    device: "cpu" or "meta".
    requires_grad: record operations on it for backward().

Example:
    >>> import cnnx
    >>> x = cnnx.rand(1000)
    >>> 0 <= x.min().item() < x.max().item() < 1
    True
)");
  def_creator(m, "randn", randn, R"(Standard normal random values, from the generator that manual_seed seeds.

Args:
    shape: axis lengths, as integers or one tuple.
    dtype: of the values.
    device: "cpu" or "meta".
    requires_grad: record operations on it for backward().

Example:
    >>> import cnnx
    >>> cnnx.randn(8, 3, 32, 32).shape
    (8, 3, 32, 32)
)");
  m.def("manual_seed", seed_all, py::arg("seed"), R"(Seeds the generator of rand, randn, dropout and initialisation.

Args:
    seed: from 0 to 2**64 - 1.

Raises:
    ValueError: for a number out of range.

Example:
    >>> import cnnx
    >>> cnnx.manual_seed(1)
    >>> x = cnnx.randn(3)
    >>> cnnx.manual_seed(1)
    >>> bool((x == cnnx.randn(3)).numpy().all())
    True
)");
}

void bind_sources(py::module_& m) {
  m.def("tensor", create, py::arg("data"), py::arg("dtype") = py::none(), py::arg("device") = py::none(),
        py::arg("requires_grad") = false,
        R"(Copies numbers into a new tensor.

Args:
    data: a number, nested sequence, NumPy array or tensor.
    dtype: float32, float64, float16, bfloat16, int64 or bool. Default: Python floats become float32, arrays keep their kind (all integers
        become int64).
    device: "cpu" or "cuda".
    requires_grad: record operations on it for backward().

Raises:
    TypeError: for anything but numbers and booleans.

Example:
    >>> import cnnx
    >>> cnnx.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
)");
  m.def("from_numpy", share_array, py::arg("array"),
        R"(A tensor on an array's memory.

Args:
    array: shared if it is in C order, writable, aligned, and of native float16, float32, float64, int64 or bool; else copied.

Raises:
    TypeError: for arrays of anything but numbers and booleans.

Example:
    >>> import cnnx, numpy as np
    >>> array = np.zeros(2, np.float32)
    >>> x = cnnx.from_numpy(array)
    >>> array[0] = 5
    >>> x.tolist()
    [5.0, 0.0]
)");
  m.def("from_dlpack", from_dlpack, py::arg("source"),
        R"(A tensor on the memory of another library's, without a copy.

Args:
    source: any object with ``__dlpack__``, on the CPU or CUDA and row-major. On a GPU it is told the stream that cnnx works
        on, and gets its memory back when that has done all it was given.

Raises:
    BufferError: for memory that is elsewhere, misaligned or not row-major; ValueError for dtypes that cnnx lacks.
    RuntimeError: for a CUDA device that cnnx cannot use.

Example:
    >>> import cnnx, numpy as np
    >>> cnnx.from_dlpack(np.arange(3)).tolist()
    [0, 1, 2]
)");
}

}  // namespace

void bind_creation(py::module_& m) {
  bind_filled(m);
  bind_random(m);
  bind_sources(m);
}

}  // namespace cnnx::bindings
