// Conversion between dtypes, and filling, on the CPU.
#include "ops/cast.h"

#include <cstring>

#include "kernels.h"
#include "parallel.h"
#include "tensor_impl.h"

namespace cnnx::CNNX_ISA {
namespace {

void convert(int64_t n, DType from, const void* x, DType to, void* y) {
  dispatch_all(from, [&](auto a) {
    dispatch_all(to, [&](auto b) {
      using A = decltype(a);
      using B = decltype(b);
      const A* in = static_cast<const A*>(x);
      B* out = static_cast<B*>(y);
      parallel_for(n, kElementGrain, [=](int64_t begin, int64_t end) {
        if constexpr (std::is_same_v<A, B>) {
          std::memcpy(out + begin, in + begin, static_cast<size_t>(end - begin) * sizeof(A));
        } else if constexpr (std::is_same_v<B, bool>) {
          for (int64_t i = begin; i < end; ++i) out[i] = is_nonzero(in[i]);
        } else if constexpr (is_floating(dtype_of<A>()) && std::is_same_v<B, int64_t>) {
          // Out of range and NaN give the smallest integer, as the hardware does; plain conversion would be undefined.
          for (int64_t i = begin; i < end; ++i) {
            const Computed<A> value = in[i];
            out[i] = value >= -0x1p63f && value < 0x1p63f ? static_cast<int64_t>(value) : INT64_MIN;
          }
        } else if constexpr (std::is_same_v<B, double>) {
          for (int64_t i = begin; i < end; ++i) out[i] = as_double(in[i]);
        } else {
          for (int64_t i = begin; i < end; ++i) out[i] = static_cast<B>(in[i]);
        }
      });
    });
  });
}

void fill(int64_t n, DType dtype, Scalar value, void* y) {
  dispatch_all(dtype, [&](auto t) {
    using T = decltype(t);
    T* out = static_cast<T*>(y);
    const T v = value.as<T>();
    parallel_for(n, kElementGrain, [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) out[i] = v;
    });
  });
}

constexpr CastKernels kTable{convert, fill};

}  // namespace

template <>
const CastKernels& table() {
  return kTable;
}

}  // namespace cnnx::CNNX_ISA
