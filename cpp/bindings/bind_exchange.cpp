// Tensor's conversions, copies, and exchange with NumPy, DLPack and pickle.
#include "cnnx/transfer.h"
#include "tensor_class.h"

namespace cnnx::bindings {
namespace {

/// What NumPy asks of __array__; copy=False forbids a copy.
py::object as_numpy(const Tensor& x, const py::object& dtype, const py::object& copy) {
  py::object array = array_from_tensor(dtype.is_none() ? x : for_numpy(x));
  const bool converts = !dtype.is_none() && !py::object(array.attr("dtype")).equal(dtype);
  const bool shares = !converts && x.device() == Device() && x.dtype() != DType::kBFloat16;
  if (!copy.is_none() && !copy.cast<bool>() && !shares)
    throw py::value_error("[array] another dtype or device needs a copy; got copy=False. Pass copy=None.");
  if (converts) return array.attr("astype")(dtype);
  return shares && !copy.is_none() && copy.cast<bool>() ? array.attr("copy")() : array;
}

Tensor converted(const Tensor& x, const py::object& target, bool non_blocking) {
  const std::variant<DType, Device> wanted = load_target(target);
  const GilRelease nogil;
  if (const auto* device = std::get_if<Device>(&wanted)) return x.to(*device, non_blocking);
  return x.to(std::get<DType>(wanted));
}

/// A leaf's copy has a gradient of its own.
Tensor deep_copy(const Tensor& x, const py::dict&) {
  const GilRelease nogil;
  Tensor copy = x.detach().clone();
  if (!x.is_leaf()) return copy;
  copy.set_requires_grad(x.requires_grad());
  if (const Tensor grad = x.grad(); grad.defined()) copy.set_grad(grad.clone());
  return copy;
}

void bind_copies(TensorClass& cls) {
  cls.def("to", converted, py::arg("target"), py::arg("non_blocking") = false,
          "The tensor converted to a dtype or moved to a device; itself if nothing changes. From page-locked memory "
          "to a GPU, non_blocking returns before the copy is made: leave the tensor as it is until then.")
      .def("pin_memory", pin_memory, NoGil(),
           "The tensor in page-locked memory, which a GPU reads by itself; itself if it is there.")
      .def("is_pinned", is_pinned, "Whether the tensor is in page-locked memory.")
      .def("clone", &Tensor::clone, NoGil(), "A copy; gradients flow through it.")
      .def(
          "copy_",
          [](py::object self, const Tensor& source) {
            auto& x = self.cast<Tensor&>();
            without_gil([&] { x.copy_(source); });
            return self;
          },
          py::arg("source"),
          "Overwrites the values in place with those of a tensor of the same shape. Not recorded: RuntimeError where a "
          "gradient would be lost.")
      .def(
          "fill_",
          [](py::object self, Scalar value) {
            auto& x = self.cast<Tensor&>();
            without_gil([&] { x.fill_(value); });
            return self;
          },
          py::arg("value"), "Overwrites all values in place. Not recorded, as copy_.")
      .def("__deepcopy__", deep_copy);
}

}  // namespace

void bind_exchange(TensorClass& cls) {
  bind_copies(cls);
  cls.def("numpy", array_from_tensor,
          "A NumPy array on the same memory (a copy from the GPU). Writing to it bypasses the tape. TypeError for "
          "bfloat16, which NumPy lacks: use to(\"float32\").numpy().")
      .def("__array__", as_numpy, py::arg("dtype") = py::none(), py::arg("copy") = py::none())
      .def(
          "__dlpack__",
          [](const Tensor& x, const py::object& stream, const py::object&, const py::object& dl_device,
             const py::object& copy) { return lend(x, stream, dl_device, copy); },
          py::kw_only(), py::arg("stream") = py::none(), py::arg("max_version") = py::none(),
          py::arg("dl_device") = py::none(), py::arg("copy") = py::none(),
          "A DLPack capsule on the same memory, or on a copy's if asked for. On a GPU the consumer's stream "
          "(None: CUDA's default one) waits until the values are there.")
      .def("__dlpack_device__", dlpack_device)
      .def("__reduce__", [](const Tensor& x) -> py::tuple {
        return py::make_tuple(py::object(py::module_::import("cnnx._core").attr("tensor")),
                              py::make_tuple(array_from_tensor(for_numpy(x)), std::string(dtype_name(x.dtype())),
                                             x.device().str(), x.requires_grad() && x.is_leaf()));
      });
}

}  // namespace cnnx::bindings
