// Kernels that convert between dtypes and fill buffers.
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>

#include "cnnx/tensor.h"

namespace cnnx {

/// The kernels take all dtypes, so there is one table.
struct CastKernels {
  void (*convert)(int64_t n, DType from, const void* x, DType to, void* y);
  void (*fill)(int64_t n, DType dtype, Scalar value, void* y);
};

/// The type whose arithmetic stands in for that of T.
template <class T>
using Computed = std::conditional_t<std::same_as<T, float16> || std::same_as<T, bfloat16>, float, T>;

/// Denormals count, though float32's may be flushed to zero where this runs.
template <class T>
constexpr bool is_nonzero(T value) {
  if constexpr (std::same_as<T, Computed<T>>) return value != T(0);
  if constexpr (!std::same_as<T, Computed<T>>) return (value.bits & 0x7FFF) != 0;
}

/// Likewise: bfloat16's subnormal numbers are such denormals, but float64's are far below them.
template <class T>
constexpr double as_double(T value) {
  if constexpr (std::same_as<T, bfloat16>) {
    const double magnitude = static_cast<double>(value.bits & 0x7F) * 0x1p-133;
    if ((value.bits & 0x7F80) == 0) return value.bits >> 15 != 0 ? -magnitude : magnitude;
  }
  return static_cast<double>(value);
}

}  // namespace cnnx
