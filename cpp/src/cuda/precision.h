// From the precision that a geometry asks for to a type, and factors rounded where no tensor core multiplies them.
#pragma once

#include <type_traits>

#include "cuda/mma.h"

namespace cnnx::cuda {

/// fn(constant) of a precision other than kFull.
template <class F>
decltype(auto) with_reduced_precision(Precision precision, F&& fn) {
  switch (precision) {
    case Precision::kBFloat16: return fn(std::integral_constant<Precision, Precision::kBFloat16>());
    case Precision::kFloat16: return fn(std::integral_constant<Precision, Precision::kFloat16>());
    default: return fn(std::integral_constant<Precision, Precision::kTF32>());
  }
}

/// How a kernel takes its factors: as they are, or rounded as pack_word() rounds them.
struct Exact {
  template <class T>
  __device__ static T factor(T value) {
    return value;
  }
};
template <Precision kPrecision>
struct Rounded {
  __device__ static float factor(float value) {
    const float values[2] = {value, 0};
    return first_value<kPrecision>(pack_word<kPrecision>(values));
  }
};

/// fn(Exact or Rounded), of values of type T; float64 is never rounded.
template <class T, class F>
void with_rounding(Precision precision, F&& fn) {
  if constexpr (std::is_same_v<T, float>) {
    if (precision != Precision::kFull) {
      return with_reduced_precision(precision, [&](auto constant) { fn(Rounded<decltype(constant)::value>()); });
    }
  }
  fn(Exact());
}

}  // namespace cnnx::cuda
