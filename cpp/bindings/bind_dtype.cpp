// DType and Device.
#include "numpy.h"

namespace cnnx::bindings {
namespace {

void bind_dtypes(py::module_& m) {
  py::class_<DType> dtype(
      m, "DType",
      R"(An element type: cnnx.float32, float64, float16, bfloat16, int64 or bool. Compares equal to its name and to NumPy's dtype.

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
      .def_property_readonly("dtype", numpy_dtype, "The NumPy dtype; TypeError for bfloat16, which NumPy lacks.");
  for (const DType t :
       {DType::kFloat16, DType::kBFloat16, DType::kFloat32, DType::kFloat64, DType::kInt64, DType::kBool}) {
    m.attr(std::string(dtype_name(t)).c_str()) = t;
  }
  m.def("_dtype", [](const std::string& name) { return parse_dtype(name); });
}

void bind_devices(py::module_& m) {
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

}  // namespace

void bind_dtype_and_device(py::module_& m) {
  bind_dtypes(m);
  bind_devices(m);
}

}  // namespace cnnx::bindings
