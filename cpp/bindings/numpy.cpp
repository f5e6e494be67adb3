// Exchange with NumPy.
#include "numpy.h"

namespace cnnx::bindings {
namespace {

/// What is called of NumPy, looked up once: an import takes a lock that a forked child may find taken for ever. Python
/// may end during the import.
struct NumPy {
  py::object asarray, ascontiguousarray, flatnonzero;
};
const NumPy& numpy() {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<NumPy> storage;
  return storage
      .call_once_and_store_result([] {
        const auto module = until_exit([] { return py::module_::import("numpy"); });
        return NumPy{module.attr("asarray"), module.attr("ascontiguousarray"), module.attr("flatnonzero")};
      })
      .get_stored();
}

/// Keeps a Python object alive until the buffer on its memory is released, from whatever thread that happens.
std::function<void()> keep_alive(py::object owner) {
  auto* held = new py::object(std::move(owner));
  return [held] {
    if (!Py_IsInitialized()) return;
    const GilAcquire gil;
    delete held;
  };
}

DType natural_dtype(const py::array& array) {
  switch (array.dtype().kind()) {
    case 'b': return DType::kBool;
    case 'i':
    case 'u': return DType::kInt64;
    case 'f':
      return array.dtype().itemsize() > 4    ? DType::kFloat64
             : array.dtype().itemsize() == 4 ? DType::kFloat32
                                             : DType::kFloat16;
    default:
      throw py::type_error("[tensor] expected numbers or booleans; got a NumPy array of dtype " +
                           py::str(array.dtype()).cast<std::string>() + ".");
  }
}

Shape shape_of(const py::array& array) {
  const std::vector<int64_t> sizes(array.shape(), array.shape() + array.ndim());
  return Shape(std::span<const int64_t>(sizes));
}

}  // namespace

py::dtype numpy_dtype(DType dtype) {
  numpy();  // else pybind11 imports it, and does not survive the end of Python meanwhile
  switch (dtype) {
    case DType::kBool: return py::dtype::of<bool>();
    case DType::kInt64: return py::dtype::of<int64_t>();
    case DType::kFloat16: return py::dtype("float16");
    case DType::kBFloat16:
      throw py::type_error("[numpy] NumPy has no bfloat16. Convert the tensor with .to(\"float32\").");
    case DType::kFloat32: return py::dtype::of<float>();
    default: return py::dtype::of<double>();
  }
}

Tensor tensor_from_array(const py::array& array, std::optional<DType> dtype) {
  const DType natural = natural_dtype(array);  // refuses text, objects, complex numbers
  const DType target = dtype.value_or(natural);
  if (target == DType::kBFloat16) {  // rounded once, from the array's own values
    const Tensor values = tensor_from_array(array, natural == DType::kInt64 ? DType::kFloat64 : natural);
    return without_gil([&] { return values.to(target); });
  }
  if (target == DType::kInt64 && array.dtype().kind() == 'u' && array.dtype().itemsize() == 8 && array.size() > 0) {
    const auto largest = array.attr("max")().cast<uint64_t>();
    if (largest > INT64_MAX)
      throw py::value_error("[tensor] integers must fit int64; got " + std::to_string(largest) + ".");
  }
  const py::array converted = numpy().ascontiguousarray(array, numpy_dtype(target));
  const Shape shape = shape_of(array);
  const void* const values = converted.data();
  const auto bytes = static_cast<size_t>(converted.nbytes());
  const GilRelease nogil;
  Tensor result = empty(shape, {target});
  if (bytes > 0) std::memcpy(result.raw_data(), values, bytes);
  return result;
}

Tensor share_array(const py::array& array) {
  const DType dtype = natural_dtype(array);
  const int flags = array.flags();
  const bool native = array.dtype().is(numpy_dtype(dtype)) || array.dtype().equal(numpy_dtype(dtype));
  const bool usable = (flags & py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_) &&
                      (flags & py::detail::npy_api::NPY_ARRAY_ALIGNED_) &&
                      (flags & py::detail::npy_api::NPY_ARRAY_WRITEABLE_) && native;
  if (!usable || array.size() == 0) return tensor_from_array(array, std::nullopt);
  return from_memory(const_cast<void*>(array.data()), shape_of(array), {dtype}, keep_alive(array));
}

Tensor on_host(const Tensor& tensor) {
  if (tensor.device() == Device()) return tensor.detach();
  const GilRelease nogil;
  return tensor.detach().to(Device());
}

Tensor for_numpy(const Tensor& tensor) {
  if (tensor.dtype() != DType::kBFloat16) return tensor;
  return without_gil([&] { return tensor.detach().to(DType::kFloat32); });
}

py::array array_from_tensor(const Tensor& tensor) {
  const py::dtype dtype = numpy_dtype(tensor.dtype());
  const Tensor host = on_host(tensor);
  auto* held = new Loan(host);
  const py::capsule owner(held, [](void* pointer) { delete static_cast<Loan*>(pointer); });
  const std::vector<py::ssize_t> shape(host.shape().begin(), host.shape().end());
  const void* const values = without_gil([&] { return held->data(); });  // it may be a product to multiply out
  return py::array(dtype, shape, values, owner);
}

Tensor tensor_from_bfloat16(py::handle values) {
  if (std::string_view(Py_TYPE(values.ptr())->tp_name) == "numpy.ndarray" || !py::hasattr(values, "__dlpack__") ||
      !py::hasattr(values, "dtype") || !py::str(values.attr("dtype")).cast<std::string>().ends_with("bfloat16")) {
    return {};
  }
  const Tensor shared = from_dlpack(py::reinterpret_borrow<py::object>(values));
  return without_gil([&] { return shared.clone(); });
}

py::array as_array(py::handle values) { return numpy().asarray(values); }

Tensor rows_of_mask(const Tensor& mask) {
  return tensor_from_array(numpy().flatnonzero(array_from_tensor(mask)), DType::kInt64);
}

Shape shape_argument(const py::args& args) {
  Shape shape;
  const py::object source =
      args.size() == 1 && !py::isinstance<py::int_>(args[0]) ? py::object(args[0]) : py::object(args);
  py::detail::make_caster<Shape> caster;
  if (!caster.load(source, true)) {
    throw py::type_error("[shape] expected integers or one tuple of integers; got " +
                         py::repr(args).cast<std::string>() + ".");
  }
  return py::detail::cast_op<Shape>(caster);
}

}  // namespace cnnx::bindings
