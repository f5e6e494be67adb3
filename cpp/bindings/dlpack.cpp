// DLPack exchange. The structs follow the published DLPack ABI, version 0.8 (unversioned capsules, which all peers
// accept).
#include "numpy.h"

namespace cnnx::bindings {
namespace {

struct DLDevice {
  int32_t device_type;
  int32_t device_id;
};
struct DLDataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};
struct DLManagedTensor {
  DLTensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(DLManagedTensor* self);
};

constexpr int32_t kDLCPU = 1;
enum DLCode : uint8_t { kDLInt = 0, kDLUInt = 1, kDLFloat = 2, kDLBool = 6 };
constexpr const char* kCapsule = "dltensor";
constexpr const char* kUsedCapsule = "used_dltensor";

DLDataType to_dl(DType dtype) {
  switch (dtype) {
    case DType::kBool: return {kDLBool, 8, 1};
    case DType::kInt64: return {kDLInt, 64, 1};
    case DType::kFloat32: return {kDLFloat, 32, 1};
    default: return {kDLFloat, 64, 1};
  }
}

DType from_dl(const DLDataType& dtype) {
  for (const DType candidate : {DType::kBool, DType::kInt64, DType::kFloat32, DType::kFloat64}) {
    const DLDataType known = to_dl(candidate);
    if (known.code == dtype.code && known.bits == dtype.bits && dtype.lanes == 1) return candidate;
  }
  throw py::buffer_error("[from_dlpack] expected float32, float64, int64 or bool; got DLPack type code " +
                         std::to_string(dtype.code) + " with " + std::to_string(dtype.bits) + " bits.");
}

/// What an exported capsule keeps alive.
struct Exported {
  explicit Exported(const Tensor& tensor) : loan(tensor) {}
  Loan loan;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;
  DLManagedTensor managed{};
};

bool is_row_major(const DLTensor& t) {
  if (!t.strides) return true;
  int64_t expected = 1;
  for (int axis = t.ndim; axis-- > 0;) {
    if (t.shape[axis] != 1 && t.strides[axis] != expected) return false;
    expected *= t.shape[axis];
  }
  return true;
}

}  // namespace

py::capsule to_dlpack(const Tensor& tensor) {
  auto exported = std::make_unique<Exported>(tensor.to(Device()));
  exported->shape.assign(tensor.shape().begin(), tensor.shape().end());
  exported->strides.resize(exported->shape.size());
  int64_t stride = 1;
  for (size_t axis = exported->shape.size(); axis-- > 0;) {
    exported->strides[axis] = stride;
    stride *= exported->shape[axis];
  }
  DLManagedTensor& managed = exported->managed;
  managed.dl_tensor = {exported->loan.data(),
                       {kDLCPU, 0},
                       tensor.rank(),
                       to_dl(tensor.dtype()),
                       exported->shape.data(),
                       exported->strides.data(),
                       0};
  managed.manager_ctx = exported.get();
  managed.deleter = [](DLManagedTensor* self) { delete static_cast<Exported*>(self->manager_ctx); };
  exported.release();
  return py::capsule(&managed, kCapsule, [](PyObject* capsule) {
    if (!PyCapsule_IsValid(capsule, kCapsule)) return;  // a consumer has taken it over
    auto* unused = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, kCapsule));
    unused->deleter(unused);
  });
}

Tensor from_dlpack(const py::object& source) {
  py::object capsule = source;
  if (py::hasattr(source, "__dlpack__")) {
    capsule = source.attr("__dlpack__")();
  }
  if (!PyCapsule_IsValid(capsule.ptr(), kCapsule)) {
    throw py::type_error("[from_dlpack] expected an object with __dlpack__ or an unused DLPack capsule; got " +
                         py::str(py::type::of(source)).cast<std::string>() + ".");
  }
  auto* managed = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), kCapsule));
  const DLTensor& t = managed->dl_tensor;
  if (t.device.device_type != kDLCPU) {
    throw py::buffer_error("[from_dlpack] expected a tensor on the CPU; got DLPack device type " +
                           std::to_string(t.device.device_type) + ".");
  }
  const DType dtype = from_dl(t.dtype);
  if (!is_row_major(t)) {
    throw py::buffer_error(
        "[from_dlpack] expected a row-major (C-contiguous) tensor; got other strides. Make it contiguous first.");
  }
  auto* data = static_cast<char*>(t.data) + t.byte_offset;
  if (reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(dtype_size(dtype)) != 0)
    throw py::buffer_error("[from_dlpack] expected aligned values; got an odd address. Copy the tensor first.");
  const Shape shape(std::span<const int64_t>(t.shape, static_cast<size_t>(t.ndim)));
  PyCapsule_SetName(capsule.ptr(), kUsedCapsule);
  // The producer's deleter may touch Python objects, so it runs with the GIL.
  return from_memory(data, shape, {dtype}, [managed] {
    if (!managed->deleter || !Py_IsInitialized()) return;
    const py::gil_scoped_acquire gil;
    managed->deleter(managed);
  });
}

}  // namespace cnnx::bindings
