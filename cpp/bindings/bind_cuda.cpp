// What cnnx.cuda and the loader build on: graphs, page-locked tensors, uploads beside the work.
#include <cstring>

#include "cnnx/cudnn.h"
#include "cnnx/graph.h"
#include "cnnx/tensor_cores.h"
#include "cnnx/transfer.h"
#include "numpy.h"

namespace cnnx::bindings {

void bind_cuda(py::module_& m) {
  py::class_<CudaGraph>(m, "_CudaGraph", "What a thread does on a GPU between begin() and end(), to be run again.")
      .def(py::init([](const DeviceArg& device) { return std::make_unique<CudaGraph>(device.value); }),
           py::arg("device") = "cuda")
      .def("begin", &CudaGraph::begin)
      .def("end", &CudaGraph::end, NoGil())
      .def("abandon", &CudaGraph::abandon)
      .def("is_current", &CudaGraph::is_current, NoGil())
      .def("replay", &CudaGraph::replay, NoGil());
  m.def("_is_capturing", &is_capturing);
  m.def("_cudnn_version", &cudnn_version);
  m.def("_cuda_tensor_cores", [](const DeviceArg& device) { return cuda_tensor_cores(device.value); }, NoGil());

  py::class_<Arrival>(m, "_Arrival", "A tensor on its way to a GPU.").def("take", &Arrival::take, NoGil());
  py::class_<Uploader>(m, "_Uploader", "Copies tensors to a GPU beside its work.")
      .def(py::init([](const DeviceArg& device) { return std::make_unique<Uploader>(device.value); }),
           py::arg("device"))
      .def("start", &Uploader::start, py::arg("source"), NoGil());
  m.def(
      "_pinned_copy",
      [](const py::array& array, const std::string& dtype) {
        const DType wanted = parse_dtype(dtype);
        const py::array values = py::module_::import("numpy").attr("ascontiguousarray")(array, dtype);
        Shape shape;
        for (py::ssize_t axis = 0; axis < values.ndim(); ++axis) shape.push_back(values.shape(axis));
        const void* const from = values.data();
        const auto bytes = static_cast<size_t>(values.nbytes());
        const GilRelease nogil;
        Tensor pinned = empty_pinned(shape, wanted);
        if (bytes > 0) std::memcpy(pinned.raw_data(), from, bytes);
        return pinned;
      },
      py::arg("array"), py::arg("dtype"), "An array's values in page-locked memory.");
}

}  // namespace cnnx::bindings
