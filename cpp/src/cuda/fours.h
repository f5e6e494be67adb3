// Element-wise kernels that read and write four values at once where addresses allow it: what reaches the memory's
// speed.
#pragma once

#include "cuda/launch.h"

namespace cnnx::cuda {

/// Four neighbouring values, moved by 16 bytes at a time.
template <class T>
struct alignas(16) Four {
  T value[4];
};

/// Whether all of these begin where fours may; null does.
template <class... P>
bool begin_fours(const P*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

template <class T>
__device__ Four<T> four_at(const T* x, int64_t i) {
  return *reinterpret_cast<const Four<T>*>(x + i);
}
template <class T>
__device__ void put_four(T* y, int64_t i, const Four<T>& four) {
  *reinterpret_cast<Four<T>*>(y + i) = four;
}

template <class T, class F>
__global__ void __launch_bounds__(kThreads)
    map_kernel(int64_t n, bool fours, F f, const T* a, const T* b, const T* c, T* y) {
  const int64_t step = int64_t{gridDim.x} * kThreads, first = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t count = fours ? n / 4 : 0;
  for (int64_t i = first; i < count; i += step) {
    const Four<T> u = a ? four_at(a, i * 4) : Four<T>{}, v = b ? four_at(b, i * 4) : Four<T>{},
                  w = c ? four_at(c, i * 4) : Four<T>{};
    Four<T> out;
#pragma unroll
    for (int k = 0; k < 4; ++k) out.value[k] = f(u.value[k], v.value[k], w.value[k]);
    put_four(y, i * 4, out);
  }
  for (int64_t i = count * 4 + first; i < n; i += step) {
    y[i] = f(a ? a[i] : T(0), b ? b[i] : T(0), c ? c[i] : T(0));
  }
}

/// y[i] = f(a[i], b[i], c[i]), with 0 for the values of null. y may be one of the others.
template <class T, class F>
void map(int64_t n, const F& f, T* y, const T* a, const T* b = nullptr, const T* c = nullptr) {
  const bool fours = begin_fours(y, a, b, c);
  launch(map_kernel<T, F>, blocks_for(n, fours ? 4 : 1), dim3(kThreads), 0, n, fours, f, a, b, c, y);
}

}  // namespace cnnx::cuda
