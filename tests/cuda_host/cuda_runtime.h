// Stands in for CUDA's header in tests without a GPU: the same kernel sources compile for the host with it.
//
// Only what cnnx's kernels and launchers use is there, with CUDA's names and meanings. A launch runs block after block;
// the threads of a block take turns at __syncthreads() and warp shuffles (runtime.cpp).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __shared__ static  // blocks run one at a time

// ---- Built-ins

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {}
};
using uint3 = dim3;

inline uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_host {
/// Waits for all threads of the block, or of the warp.
void wait_for_block();
void wait_for_warp();
/// Room for a value of every lane of the calling thread's warp.
void* warp_slots();
inline unsigned lane() { return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32; }

template <class T>
T exchange(T value, unsigned from) {
  T* const slots = static_cast<T*>(warp_slots());
  slots[lane()] = value;
  wait_for_warp();
  const T other = slots[from % 32];
  wait_for_warp();
  return other;
}

/// The launch's dynamic shared memory.
struct DynamicShared {
  char* memory;
  size_t bytes;
};
DynamicShared dynamic_shared();

void run_grid(dim3 grid, dim3 block, size_t shared, const std::function<void()>& thread);
/// More dynamic shared memory for a kernel than every one may have, if there is so much; whether a launch with so much
/// is allowed.
bool allow_shared(const void* kernel, size_t bytes);
bool may_have_shared(const void* kernel, size_t bytes);
/// Says what a kernel did that CUDA leaves undefined, and ends the process. Tests may put another function here.
inline void (*report)(const char* text) = nullptr;
void violation(const char* text);
}  // namespace cuda_host

using cudaStream_t = struct CUstream_st*;
namespace cuda_host {
/// Does what was put into the stream in its turn, or keeps it where the stream is captured.
void submit(cudaStream_t stream, std::function<void()> work);
/// Does all that was put into any stream.
void drain();
/// Whether a stream is captured. CUDA refuses to wait for its device then.
bool is_capturing();
/// With device memory open.
void copy_bytes(void* to, const void* from, size_t bytes);
void fill_bytes(void* to, int value, size_t bytes);
}  // namespace cuda_host

inline void __syncthreads() { cuda_host::wait_for_block(); }
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return cuda_host::exchange(value, cuda_host::lane() ^ static_cast<unsigned>(mask));
}

// ---- Runtime

enum cudaError_t {
  cudaSuccess,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidValue = 1,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorStreamCaptureUnsupported = 900
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
struct cudaDeviceProp {
  char name[256];
  int major, minor;
};
enum cudaStreamCaptureMode { cudaStreamCaptureModeRelaxed = 2 };
using cudaEvent_t = struct CUevent_st*;
using cudaGraph_t = struct CUgraph_st*;
using cudaGraphExec_t = struct CUgraphExec_st*;
inline constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;
inline constexpr unsigned cudaHostAllocPortable = 1, cudaHostAllocMapped = 2;
inline const cudaStream_t cudaStreamLegacy = reinterpret_cast<cudaStream_t>(1);
inline const cudaStream_t cudaStreamPerThread = reinterpret_cast<cudaStream_t>(2);

const char* cudaGetErrorString(cudaError_t code);
cudaError_t cudaGetLastError();
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaMalloc(void** memory, size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned flags);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device, size_t bytes,
                                cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream);

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaDeviceSynchronize();

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};
template <class... Params, class... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Params...), Args... args) {
  const dim3 grid = config->gridDim, block = config->blockDim;
  const size_t shared = config->dynamicSmemBytes;
  if (!cuda_host::may_have_shared(reinterpret_cast<const void*>(kernel), shared)) return cudaErrorInvalidValue;
  cuda_host::submit(config->stream,
                    [=] { cuda_host::run_grid(grid, block, shared, [=] { kernel(static_cast<Params>(args)...); }); });
  return cudaSuccess;
}
template <class... Params>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Params...), cudaFuncAttribute, int bytes) {
  return cuda_host::allow_shared(reinterpret_cast<const void*>(kernel), static_cast<size_t>(bytes))
             ? cudaSuccess
             : cudaErrorInvalidValue;
}
