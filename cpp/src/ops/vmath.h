// exp, tanh, logistic and the normal distribution function in forms that the compiler turns into vector code for float.
//
// Polynomials: exp is a Taylor expansion after reduction to |r| <= ln(2) / 2; tanh near 0 has the coefficients of
// Cephes' tanhf (Moshier); the normal tail uses formula 7.1.26 of Abramowitz and Stegun. For double the C library is
// called.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace cnnx::vmath {

inline float exp(float x) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, which is then in the low bits
  const float shifted = x * 1.44269504088896341f + kShift;
  const auto n = static_cast<int32_t>(std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kShift));
  const float whole = shifted - kShift;
  const float r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  float p = 1.0f / 5040.0f;
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // 2^n in two factors: n = 128 occurs for finite results. The mask keeps the shift defined for any x.
  const int32_t half = n >> 1;
  const auto power = [](int32_t e) { return std::bit_cast<float>(static_cast<uint32_t>(e + 127) << 23); };
  const float y = p * power(half) * power(n - half);
  const float low = x < -87.33654f ? 0.0f : y;
  return x > 88.72283f ? std::numeric_limits<float>::infinity() : low;  // NaN fails both comparisons and stays
}
inline double exp(double x) { return std::exp(x); }

inline float tanh(float x) {
  const float a = std::fabs(x), z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const float near_zero = p * z * x + x;
  const float far = std::copysign(1.0f - 2.0f / (exp(2.0f * a) + 1.0f), x);
  return a < 0.625f ? near_zero : far;
}
inline double tanh(double x) { return std::tanh(x); }

template <class T>
inline T sigmoid(T x) {
  return T(1) / (T(1) + exp(-x));
}

/// Probability that a standard normal value is at most x.
inline float normal_cdf(float x) {
  const float a = std::fabs(x) * 0.70710678118654752f;
  const float t = 1.0f / (1.0f + 0.3275911f * a);
  float p = 1.061405429f;
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const float tail = 0.5f * p * t * exp(-a * a);
  return x > 0.0f ? 1.0f - tail : tail;
}
inline double normal_cdf(double x) { return 0.5 * std::erfc(-x * 0.70710678118654752440); }

/// Density of the standard normal distribution.
template <class T>
inline T normal_pdf(T x) {
  return exp(T(-0.5) * x * x) * T(0.39894228040143267794);
}

}  // namespace cnnx::vmath
