// Sums and other reductions within a warp, within a block and of everything, always in the same order.
#pragma once

#include "cuda/launch.h"

namespace cnnx::cuda {

inline constexpr unsigned kWholeWarp = 0xffffffffu;

/// op over the values of kLanes neighbouring lanes (a power of two), for all of them.
template <int kLanes, class T, class Op>
__device__ T reduce_lanes(T value, Op op) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    value = op(value, __shfl_xor_sync(kWholeWarp, value, distance));
  }
  return value;
}

/// op over the values of all threads of a block of kThreads, for the first of them. May be called again at once.
template <class T, class Op>
__device__ T reduce_block(T value, Op op) {
  __shared__ T parts[kThreads / 32];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  value = reduce_lanes<32>(value, op);
  if (lane == 0) parts[warp] = value;
  __syncthreads();
  if (warp == 0) value = reduce_lanes<kThreads / 32>(lane < kThreads / 32 ? parts[lane] : value, op);
  __syncthreads();
  return value;
}

/// fn(slice, lane, is_new) for every slice of [0, count), by kLanes neighbouring threads together. All threads of a
/// warp come along to the end, so that lanes may exchange values: some see the last slice again, with is_new false.
template <int kLanes, class F>
__device__ void for_each_slice(int64_t count, const F& fn) {
  const int64_t step = int64_t{gridDim.x} * (kThreads / kLanes);
  const int64_t first = int64_t{blockIdx.x} * (kThreads / kLanes) + threadIdx.x / kLanes;
  const int64_t warp_first = first - threadIdx.x % 32 / kLanes;  // the same for all threads of a warp
  for (int64_t start = warp_first; start < count; start += step) {
    const int64_t slice = start + (first - warp_first);
    fn(std::min(slice, count - 1), static_cast<int>(threadIdx.x) % kLanes, slice < count);
  }
}

struct Plus {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Larger {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};
struct Smaller {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return b < a ? b : a;
  }
};

/// op over f(i) of all i of [0, n), `start` of none: one block hands the result to finish(), several write a part each.
template <class V, class F, class Op, class Finish>
__global__ void __launch_bounds__(kThreads) reduce_kernel(int64_t n, F f, Op op, V start, V* parts, Finish finish) {
  V value = start;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < n; i += step) value = op(value, f(i));
  value = reduce_block(value, op);
  if (threadIdx.x != 0) return;
  if (gridDim.x > 1) {
    parts[blockIdx.x] = value;
  } else {
    finish(value);
  }
}

/// finish(op over f(i) of all i), in an order that n alone decides, by one thread.
template <class V, class F, class Op, class Finish>
void reduce_all(int64_t n, const F& f, const Op& op, V start, const Finish& finish) {
  constexpr int64_t kEach = 32, kMostBlocks = 1024;  // values of a thread, at least; blocks
  const int64_t blocks = std::clamp<int64_t>(ceil_div(n, kEach * kThreads), 1, kMostBlocks);
  const Scratch parts(blocks > 1 ? blocks * static_cast<int64_t>(sizeof(V)) : 0);
  V* const part = parts.as<V>();
  launch(reduce_kernel<V, F, Op, Finish>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, n, f, op, start, part,
         finish);
  if (blocks == 1) return;
  const auto read = [part] __device__(int64_t i) { return part[i]; };
  launch(reduce_kernel<V, decltype(read), Op, Finish>, dim3(1), dim3(kThreads), 0, blocks, read, op, start, part,
         finish);
}

}  // namespace cnnx::cuda
