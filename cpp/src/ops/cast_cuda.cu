// Conversion between dtypes, and filling, on CUDA.
#include "ops/cast.h"

#include <type_traits>

#include "cuda/launch.h"
#include "tensor_impl.h"

namespace cnnx::cuda {
namespace {

template <class A, class B>
__device__ B converted(A value) {
  if constexpr (std::is_same_v<B, bool>) {
    return is_nonzero(value);
  } else if constexpr (is_floating(dtype_of<A>()) && std::is_same_v<B, int64_t>) {
    // As on the CPU: out of range and NaN give the smallest integer.
    const Computed<A> number = value;
    return number >= -0x1p63f && number < 0x1p63f ? static_cast<int64_t>(number) : INT64_MIN;
  } else if constexpr (std::is_same_v<B, double>) {
    return as_double(value);
  } else {
    return static_cast<B>(value);
  }
}

template <class A, class B>
void convert_typed(int64_t n, const A* x, B* y) {
  for_each(n, [=] __device__(int64_t i) { y[i] = converted<A, B>(x[i]); });
}

void convert(int64_t n, DType from, const void* x, DType to, void* y) {
  if (n == 0) return;
  if (from == to) {
    dispatch_all(from, [&](auto t) {
      check_cuda(cudaMemcpyAsync(y, x, static_cast<size_t>(n) * sizeof(t), cudaMemcpyDeviceToDevice, stream()),
                 "a copy");
    });
    return;
  }
  dispatch_all(from, [&](auto a) {
    dispatch_all(to,
                 [&](auto b) { convert_typed(n, static_cast<const decltype(a)*>(x), static_cast<decltype(b)*>(y)); });
  });
}

template <class T>
void fill_typed(int64_t n, T value, T* y) {
  for_each(n, [=] __device__(int64_t i) { y[i] = value; });
}

void fill(int64_t n, DType dtype, Scalar value, void* y) {
  dispatch_all(dtype, [&](auto t) {
    using T = decltype(t);
    fill_typed(n, value.as<T>(), static_cast<T*>(y));
  });
}

constexpr CastKernels kTable{convert, fill};

}  // namespace

template <>
const CastKernels& table() {
  return kTable;
}

}  // namespace cnnx::cuda
