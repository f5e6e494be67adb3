// DLPack exchange. The structs follow the published DLPack ABI, version 0.8 (unversioned capsules, which all peers
// accept).
#include "cnnx/exchange.h"
#include "cnnx/graph.h"
#include "cnnx/transfer.h"
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

constexpr int32_t kDLCPU = 1, kDLCUDA = 2, kDLCUDAHost = 3, kDLCUDAManaged = 13;
constexpr int64_t kLegacyStream = 1, kThreadStream = 2, kNoStream = -1;  // of CUDA, as numbers
enum DLCode : uint8_t { kDLInt = 0, kDLUInt = 1, kDLFloat = 2, kDLBfloat = 4, kDLBool = 6 };
constexpr const char* kCapsule = "dltensor";
constexpr const char* kUsedCapsule = "used_dltensor";

DLDataType to_dl(DType dtype) {
  switch (dtype) {
    case DType::kBool: return {kDLBool, 8, 1};
    case DType::kInt64: return {kDLInt, 64, 1};
    case DType::kFloat16: return {kDLFloat, 16, 1};
    case DType::kBFloat16: return {kDLBfloat, 16, 1};
    case DType::kFloat32: return {kDLFloat, 32, 1};
    default: return {kDLFloat, 64, 1};
  }
}

DType from_dl(const DLDataType& dtype) {
  for (const DType candidate :
       {DType::kBool, DType::kInt64, DType::kFloat16, DType::kBFloat16, DType::kFloat32, DType::kFloat64}) {
    const DLDataType known = to_dl(candidate);
    if (known.code == dtype.code && known.bits == dtype.bits && dtype.lanes == 1) return candidate;
  }
  throw py::buffer_error(
      "[from_dlpack] expected float32, float64, float16, bfloat16, int64 or bool; got DLPack type code " +
      std::to_string(dtype.code) + " with " + std::to_string(dtype.bits) + " bits.");
}

/// What an exported capsule keeps alive.
struct Exported {
  Exported(const Tensor& tensor, int64_t stream_) : device(tensor.device()), stream(stream_), loan(tensor) {}
  /// The consumer's work on the memory may be under way: what gets it next waits for that. Its stream may be gone.
  ~Exported() {
    if (!device.is_cuda()) return;
    if (stream != kLegacyStream && stream != kThreadStream) {
      settle(device, true);
      return;
    }
    try {
      meet_stream(device, static_cast<uint64_t>(stream), false);
    } catch (const std::exception&) {  // a forked child leaves its parent's memory alone
    }
  }
  Exported(const Exported&) = delete;
  Exported& operator=(const Exported&) = delete;

  Device device;
  int64_t stream;
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

py::capsule to_dlpack(const Tensor& tensor, int64_t stream) {
  const Device device = tensor.device();
  if (device.is_cuda() && is_capturing())
    throw std::runtime_error("[dlpack] a captured function cannot lend tensors: their values are not there yet.");
  if (device.is_cuda() && stream != kNoStream) meet_stream(device, static_cast<uint64_t>(stream), true);
  auto exported = std::make_unique<Exported>(tensor, stream);
  exported->shape.assign(tensor.shape().begin(), tensor.shape().end());
  exported->strides.resize(exported->shape.size());
  int64_t stride = 1;
  for (size_t axis = exported->shape.size(); axis-- > 0;) {
    exported->strides[axis] = stride;
    stride *= exported->shape[axis];
  }
  DLManagedTensor& managed = exported->managed;
  managed.dl_tensor = {exported->loan.data(),
                       {device.is_cuda() ? kDLCUDA : kDLCPU, device.index},
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

/// The capsule of an object: a producer on a GPU is told the stream on which its values are wanted.
py::object capsule_of(const py::object& source) {
  if (!py::hasattr(source, "__dlpack__")) return source;
  const py::object lend = source.attr("__dlpack__");
  if (!py::hasattr(source, "__dlpack_device__")) return lend();
  const auto [type, index] = source.attr("__dlpack_device__")().cast<std::pair<int32_t, int32_t>>();
  if ((type != kDLCUDA && type != kDLCUDAManaged) || index < 0) return lend();
  return lend(py::arg("stream") = work_stream({DeviceType::kCuda, index}));
}

Device device_of(const DLDevice& device) {
  if (device.device_type == kDLCPU || device.device_type == kDLCUDAHost) return {};
  if ((device.device_type == kDLCUDA || device.device_type == kDLCUDAManaged) && device.device_id >= 0) {
    const Device found(DeviceType::kCuda, device.device_id);
    work_stream(found);  // raises where there is no such device
    return found;
  }
  throw py::buffer_error("[from_dlpack] expected a tensor on the CPU or on CUDA; got DLPack device type " +
                         std::to_string(device.device_type) + ".");
}

}  // namespace

Tensor from_dlpack(const py::object& source) {
  const py::object capsule = capsule_of(source);
  if (!PyCapsule_IsValid(capsule.ptr(), kCapsule)) {
    throw py::type_error("[from_dlpack] expected an object with __dlpack__ or an unused DLPack capsule; got " +
                         py::str(py::type::of(source)).cast<std::string>() + ".");
  }
  auto* managed = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), kCapsule));
  const DLTensor& t = managed->dl_tensor;
  const Device device = device_of(t.device);
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
  // The producer may use the memory for something else at once. Its deleter may touch Python objects, so it runs with
  // the GIL.
  return from_memory(data, shape, {dtype, device}, [managed, device] {
    if (!managed->deleter || !Py_IsInitialized()) return;
    if (device.is_cuda()) settle(device, false);
    const GilAcquire gil;
    managed->deleter(managed);
  });
}

py::tuple dlpack_device(const Tensor& x) {
  return x.device().is_cuda() ? py::make_tuple(kDLCUDA, x.device().index) : py::make_tuple(kDLCPU, 0);
}

py::capsule lend(const Tensor& tensor, const py::object& stream, const py::object& dl_device, const py::object& copy) {
  const Tensor x = tensor.detach();
  const bool may_copy = copy.is_none() || copy.cast<bool>(), must_copy = !copy.is_none() && may_copy;
  const bool on_gpu = x.device().is_cuda(), wants_cpu = !dl_device.is_none() && dl_device.equal(py::make_tuple(1, 0));
  if (!dl_device.is_none() && !wants_cpu && !dl_device.equal(dlpack_device(x)))
    throw py::buffer_error(std::string("[dlpack] expected the ") + (on_gpu ? "tensor's device or " : "device ") +
                           "(1, 0), the CPU; got " + py::repr(dl_device).cast<std::string>() + ".");
  if (on_gpu && wants_cpu && !may_copy)
    throw py::buffer_error("[dlpack] a tensor on a GPU gets to the CPU by a copy; got copy=False.");
  if (!on_gpu || wants_cpu) {
    if (!on_gpu && !stream.is_none()) throw py::buffer_error("[dlpack] tensors on the CPU have no stream; pass None.");
    return to_dlpack(must_copy && !on_gpu ? x.clone() : on_host(x), kNoStream);
  }
  const int64_t number = stream.is_none() ? kLegacyStream : stream.cast<int64_t>();
  if (number < kNoStream || number == 0)
    throw py::buffer_error("[dlpack] expected None, -1, 1, 2 or a CUDA stream; got " + std::to_string(number) + ".");
  return to_dlpack(must_copy ? x.clone() : x, number);
}

}  // namespace cnnx::bindings
