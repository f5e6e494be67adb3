// Uniform and normal numbers on the CPU, the normal ones by Box and Muller.
#include "ops/random_kernels.h"

#include <cmath>

#include "kernels.h"
#include "ops/random_bits.h"

namespace cnnx::CNNX_ISA {
namespace {

template <class T>
void uniform(int64_t n, Philox stream, T low, T high, T* y) {
  for_each_bits(n, stream, [=](int64_t first, int64_t count, const uint32_t* bits) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) y[first + i] = low + (high - low) * static_cast<T>(uniform01(bits[i]));
  });
}

template <class T>
void normal(int64_t n, Philox stream, T mean, T std, T* y) {
  constexpr double kTwoPi = 6.283185307179586;
  for_each_bits(n, stream, [=](int64_t first, int64_t count, const uint32_t* bits) {
    for (int64_t i = 0; i < count; i += 2) {
      const double radius = std::sqrt(-2 * std::log((static_cast<double>(bits[i]) + 1) * 0x1p-32));  // of (0, 1]
      const double angle = kTwoPi * static_cast<double>(bits[i + 1]) * 0x1p-32;
      y[first + i] = mean + std * static_cast<T>(radius * std::cos(angle));
      if (i + 1 < count) y[first + i + 1] = mean + std * static_cast<T>(radius * std::sin(angle));
    }
  });
}

template <class T>
constexpr RandomKernels<T> kTable{uniform<T>, normal<T>};

}  // namespace

template <>
const RandomKernels<float>& table() {
  return kTable<float>;
}
template <>
const RandomKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
