// What kernels and their launchers share: launch(), the stream, error checks, scratch memory. Included by *_cuda.cu
// only; they compile with nvcc, and for the host with the test-only cuda_runtime.h of tests/cuda_host.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "cnnx/error.h"
#include "rounding.h"

namespace cnnx::cuda {

/// The table of kernels of a type; ops/<op>_cuda.cu specialises it.
template <class Kernels>
const Kernels& table();

/// Raises CudaError if a call failed; `call` says which.
void check_cuda(cudaError_t code, const char* call);

/// The stream on which the calling thread's device works. There is one a device, and another one while this thread
/// captures.
cudaStream_t stream();
/// Whether this thread's launches are being captured for a graph: nothing may wait, and they run later.
bool is_capturing();
/// Copies what the host holds; it may change when this returns. Small tables travel as arguments of kernels, without a
/// wait and into graphs; a large one waits.
void upload(void* to, const void* from, size_t bytes);
/// Memory of the caching allocator; `handle` gives it back.
void* allocate_scratch(size_t bytes, void** handle);
void release_scratch(void* handle);
/// The calling thread's device.
int device();
/// Streaming multiprocessors of the calling thread's device.
int multiprocessors();

/// Runs kernel<<<grid, block, shared>>>(args...) on the stream. An empty grid does nothing.
template <class... Params, class... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared, const Args&... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = stream();
  check_cuda(cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...), "the launch of a kernel");
}

/// Memory for one launcher. Who gets it next works on it after what this one launched.
class Scratch {
 public:
  explicit Scratch(int64_t bytes) {
    if (bytes > 0) data_ = allocate_scratch(static_cast<size_t>(bytes), &handle_);
  }
  ~Scratch() {
    if (handle_) release_scratch(handle_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  void* handle_ = nullptr;
};

/// A table of the host's in device memory; null of no table.
template <class V>
class Uploaded {
 public:
  Uploaded(const V* host, int64_t count) : memory_(host ? count * static_cast<int64_t>(sizeof(V)) : 0) {
    if (host && count > 0) upload(memory_.template as<V>(), host, static_cast<size_t>(count) * sizeof(V));
  }
  const V* data() const { return memory_.template as<V>(); }

 private:
  Scratch memory_;
};

inline constexpr int kThreads = 256;  // of a block, where nothing else decides

/// Blocks for n items, `each` of them a thread: enough to fill any GPU, the rest is done by loops in the kernel.
inline dim3 blocks_for(int64_t n, int64_t each = 1) {
  return dim3(static_cast<unsigned>(std::min<int64_t>(ceil_div(n, each * kThreads), multiprocessors() * int64_t{32})));
}

/// Division of 32-bit numbers below 2^31 by one that is known before the kernel starts: a multiplication and a shift.
/// The axes of an empty tensor may have any length; nothing is divided then.
struct Divisor {
  uint32_t value = 1;
  uint32_t multiplier = 0;
  uint32_t shift = 0;

  constexpr Divisor() = default;
  constexpr explicit Divisor(int64_t divisor) {
    if (divisor < 1 || divisor >= int64_t{1} << 31) return;
    value = static_cast<uint32_t>(divisor);
    while (shift < 31 && (uint32_t{1} << shift) < value) ++shift;
    multiplier = static_cast<uint32_t>(((uint64_t{1} << 32) * ((uint64_t{1} << shift) - value)) / value + 1);
  }
  constexpr uint32_t divide(uint32_t n) const {
    return (static_cast<uint32_t>((uint64_t{n} * multiplier) >> 32) + n) >> shift;
  }
};
/// The same for numbers below 2^53. A division of 64-bit integers is a call, around which registers are spilled.
struct WideDivisor {
  int64_t value = 1;
  double inverse = 1;

  constexpr WideDivisor() = default;
  constexpr explicit WideDivisor(int64_t divisor) : value(divisor), inverse(1 / static_cast<double>(divisor)) {}
  constexpr int64_t divide(int64_t n) const {
    const auto quotient = static_cast<int64_t>(static_cast<double>(n) * inverse);
    const int64_t rest = n - quotient * value;  // rounding may be off by one
    return rest < 0 ? quotient - 1 : rest >= value ? quotient + 1 : quotient;
  }
};

/// Whether counts up to n fit what Divisor takes.
inline bool is_small(int64_t n) { return n < (int64_t{1} << 31); }

/// A stride or dilation in 32 bits. One longer than any image acts like the longest.
inline int small_step(int64_t step) { return static_cast<int>(std::min<int64_t>(step, int64_t{1} << 30)); }

/// f(i) for every i of [0, n), one a thread at a time.
template <class F>
__global__ void __launch_bounds__(kThreads) for_each_kernel(int64_t n, F f) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += step) f(i);
}
template <class F>
void for_each(int64_t n, const F& f) {
  launch(for_each_kernel<F>, blocks_for(n), dim3(kThreads), 0, n, f);
}

}  // namespace cnnx::cuda
