// Uniform and normal numbers on the CPU: four values a Philox counter, the normal ones by Box and Muller.
#include "ops/random_kernels.h"

#include <cmath>

#include "kernels.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

/// Calls fn(bits of one counter, values) for groups of four values and copies them out.
template <class T, class F>
void for_each_four(int64_t n, T* y, F fn) {
  parallel_for((n + 3) / 4, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t counter = begin; counter < end; ++counter) {
      T values[4];
      fn(counter, values);
      for (int64_t i = 0; i < 4 && counter * 4 + i < n; ++i) y[counter * 4 + i] = values[i];
    }
  });
}

template <class T>
void uniform(int64_t n, Philox stream, T low, T high, T* y) {
  for_each_four(n, y, [=](int64_t counter, T* values) {
    const auto bits = stream(static_cast<uint64_t>(counter));
    for (size_t i = 0; i < 4; ++i) values[i] = low + (high - low) * static_cast<T>(uniform01(bits[i]));
  });
}

template <class T>
void normal(int64_t n, Philox stream, T mean, T std, T* y) {
  constexpr double kTwoPi = 6.283185307179586;
  for_each_four(n, y, [=](int64_t counter, T* values) {
    const auto bits = stream(static_cast<uint64_t>(counter));
    for (size_t i = 0; i < 4; i += 2) {
      const double radius = std::sqrt(-2 * std::log((static_cast<double>(bits[i]) + 1) * 0x1p-32));  // of (0, 1]
      const double angle = kTwoPi * static_cast<double>(bits[i + 1]) * 0x1p-32;
      values[i] = mean + std * static_cast<T>(radius * std::cos(angle));
      values[i + 1] = mean + std * static_cast<T>(radius * std::sin(angle));
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
