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

void run_grid(dim3 grid, dim3 block, const std::function<void()>& thread);
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
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16 };
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold = 4 };
using cudaStream_t = struct CUstream_st*;
using cudaMemPool_t = struct CUmemPoolHandle_st*;
inline constexpr unsigned cudaStreamNonBlocking = 1;

const char* cudaGetErrorString(cudaError_t code);
cudaError_t cudaGetLastError();
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaMalloc(void** memory, size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaMallocAsync(void** memory, size_t bytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream);
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value);
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t bytes);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device, size_t bytes,
                                cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream);

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};
template <class... Params, class... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Params...), Args... args) {
  cuda_host::run_grid(config->gridDim, config->blockDim, [=] { kernel(args...); });
  return cudaSuccess;
}
