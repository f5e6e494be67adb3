// The function that the CUDA library exports: devices, memory, copies, and the list of kernel tables.
#include "cuda/library.h"

#include <cstring>
#include <new>
#include <string>
#include <typeinfo>

#include "cnnx/version.h"
#include "cuda/cudnn.h"
#include "cuda/device_state.h"
#include "cuda/tensor_cores.h"
#include "ops/avg_pool2d.h"
#include "ops/batch_norm.h"
#include "ops/binary.h"
#include "ops/cast.h"
#include "ops/class_loss.h"
#include "ops/conv2d/conv2d.h"
#include "ops/cross_entropy.h"
#include "ops/dropout.h"
#include "ops/group_norm.h"
#include "ops/im2col.h"
#include "ops/linear.h"
#include "ops/local_response_norm.h"
#include "ops/locally_connected2d.h"
#include "ops/lp_pool2d.h"
#include "ops/matmul.h"
#include "ops/max_pool2d.h"
#include "ops/multi_margin_loss.h"
#include "ops/optimizer.h"
#include "ops/random_kernels.h"
#include "ops/reduce.h"
#include "ops/resample.h"
#include "ops/shape.h"
#include "ops/softmax.h"
#include "ops/unary.h"

namespace cnnx::cuda {
namespace {

DeviceState states[kMostCudaDevices];
thread_local int current_device = -1;
const CudaHost* host = nullptr;

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version / 10 % 100);
}

/// Why there is no device.
std::string what_is_missing(cudaError_t code) {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  const std::string needs = version_text(runtime);
  if (driver == 0) {
    return "no NVIDIA driver was found. Install one for CUDA " + needs + " or later, or use device \"cpu\".";
  }
  if (code == cudaErrorInsufficientDriver) {
    return "the NVIDIA driver is for CUDA " + version_text(driver) + "; cnnx was built with CUDA " + needs +
           ". Install a newer driver, or use device \"cpu\".";
  }
  if (code == cudaErrorNoDevice || code == cudaSuccess) {
    return "the NVIDIA driver finds no GPU. Look at nvidia-smi and CUDA_VISIBLE_DEVICES, or use device \"cpu\".";
  }
  return std::string("the GPU cannot be used: ") + cudaGetErrorString(code) + ".";
}

int device_count(const char** reason) {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code == cudaSuccess && count > 0) return std::min(count, kMostCudaDevices);
  cudaGetLastError();
  thread_local std::string text;
  text = what_is_missing(code);
  *reason = text.c_str();
  return 0;
}

void connect(const CudaHost* given) { host = given; }

void* allocate(int device, size_t bytes) {
  use_device(device);
  void* memory = nullptr;
  const cudaError_t code = cudaMalloc(&memory, bytes);
  if (code == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check_cuda(code, "cudaMalloc");
  return memory;
}

void release(int device, void* memory, size_t) {
  use_device(device);
  check_cuda(cudaFree(memory), "cudaFree");
}

void memory_info(int device, size_t* free, size_t* total) {
  use_device(device);
  check_cuda(cudaMemGetInfo(free, total), "cudaMemGetInfo");
}

const char* describe(int device) {
  DeviceState& state = states[device];
  std::call_once(state.described, [&] {
    cudaDeviceProp device_is;
    int driver = 0, runtime = 0;
    const char* const instructions = tensor_cores(device);
    check_cuda(cudaGetDeviceProperties(&device_is, device), "cudaGetDeviceProperties");
    check_cuda(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
    check_cuda(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
    state.description =
        new std::string(std::string(device_is.name) + ", compute capability " + std::to_string(device_is.major) + "." +
                        std::to_string(device_is.minor) + ", CUDA " + version_text(runtime) + ", driver for CUDA " +
                        version_text(driver) + ", cuDNN " + std::to_string(cudnn_version()) + ", " +
                        (instructions ? instructions : "no tensor cores"));
  });
  return state.description->c_str();
}

struct Entry {
  const char* type;
  const void* kernels;
};
template <class... Kernels>
const void* find_among(const char* type) {
  const Entry entries[] = {{typeid(Kernels).name(), &table<Kernels>()}...};
  for (const Entry& entry : entries) {
    if (std::strcmp(entry.type, type) == 0) return entry.kernels;
  }
  return nullptr;
}

/// The tables that there are for a floating type.
template <class T>
const void* find_floating(const char* type) {
  return find_among<AvgPool2dKernels<T>, BatchNormKernels<T>, BinaryKernels<T>, CrossEntropyKernels<T>, CudnnConv2d<T>,
                    DirectConv2d<T>, DropoutKernels<T>, GroupNormKernels<T>, Im2colKernels<T>, ImplicitGemmConv2d<T>,
                    LPPool2dKernels<T>, LinearKernels<T>, LocallyConnectedKernels<T>, LossKernels<T>, LrnKernels<T>,
                    MatmulKernels<T>, MaxPool2dKernels<T>, MultiMarginKernels<T>, OptimizerKernels<T>, RandomKernels<T>,
                    ReduceKernels<T>, ResampleKernels<T>, RowKernels<T>, SoftmaxKernels<T>, UnaryKernels<T>,
                    WinogradConv2d<T>>(type);
}

const void* find_table(const char* type) {
  if (const void* found = find_floating<float>(type)) return found;
  if (const void* found = find_floating<double>(type)) return found;
  return find_among<BinaryKernels<int64_t>, CastKernels, ReduceKernels<int64_t>, ShapeKernels, UnaryKernels<int64_t>>(
      type);
}

constexpr CudaLibrary kLibrary{CNNX_VERSION, device_count,  use_device,   allocate,      release,       memory_info,
                               copy,         synchronize,   find_table,   connect,       begin_capture, end_capture,
                               replay,       release_graph, upload_to,    pin,           copy_async,    make_event,
                               record,       wait,          wait_on_host, release_event, work_stream,   meet,
                               settle,       cudnn_version, describe,     tensor_cores};

}  // namespace

DeviceState& state_of(int device) { return states[device]; }

DeviceState& current() {
  if (current_device < 0) throw CudaError("[cuda] no device was chosen before a kernel was launched.");
  return states[current_device];
}

void use_device(int device) {
  if (const int captured = captured_device(); captured >= 0 && captured != device) {
    throw CudaError("[graph] a captured function works on one device, cuda:" + std::to_string(captured) +
                    "; got cuda:" + std::to_string(device) + ".");
  }
  check_cuda(cudaSetDevice(device), "cudaSetDevice");
  current_device = device;
  DeviceState& state = states[device];
  std::call_once(state.once, [&] {
    for (cudaStream_t* stream : {&state.stream, &state.copy_stream}) {
      check_cuda(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), "cudaStreamCreate");
    }
    check_cuda(cudaDeviceGetAttribute(&state.multiprocessors, cudaDevAttrMultiProcessorCount, device),
               "cudaDeviceGetAttribute");
    void* memory = nullptr;
    check_cuda(cudaHostAlloc(&memory, sizeof(FailedCheck), cudaHostAllocPortable | cudaHostAllocMapped),
               "cudaHostAlloc");
    state.failed = new (memory) FailedCheck{};
  });
}

void synchronize(int device) {
  use_device(device);
  check_may_wait("synchronize()");
  wait_for(device, stream());
}

void check_cuda(cudaError_t code, const char* call) {
  if (code == cudaSuccess) return;
  cudaGetLastError();  // an error that does not last is over
  throw CudaError(std::string("[cuda] ") + call + " failed: " + cudaGetErrorString(code) + ".");
}

cudaStream_t stream() { return is_capturing() ? current().capture_stream : current().stream; }
int device() { return current_device; }
int multiprocessors() { return current().multiprocessors; }
FailedCheck* failed_check() { return current().failed; }
void* allocate_scratch(size_t bytes, void** handle) { return host->allocate(current_device, bytes, handle); }
void release_scratch(void* handle) { host->release(handle); }

}  // namespace cnnx::cuda

extern "C" CNNX_API const cnnx::CudaLibrary* cnnx_cuda_library() { return &cnnx::cuda::kLibrary; }
