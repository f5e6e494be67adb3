// Uniform and normal numbers on CUDA, from the same bits as on the CPU.
#include "ops/random_kernels.h"

#include <cmath>

#include "cuda/launch.h"

namespace cnnx::cuda {
namespace {

template <class T>
void uniform(int64_t n, Philox stream, T low, T high, T* y) {
  for_each(ceil_div(n, 4), [=] __device__(int64_t counter) {
    const auto bits = stream.resolved()(static_cast<uint64_t>(counter));
    for (int i = 0; i < 4; ++i) {
      const int64_t at = counter * 4 + i;
      if (at < n) y[at] = low + (high - low) * static_cast<T>(uniform01(bits[static_cast<size_t>(i)]));
    }
  });
}

template <class T>
void normal(int64_t n, Philox stream, T mean, T std, T* y) {
  for_each(ceil_div(n, 4), [=] __device__(int64_t counter) {
    const auto bits = stream.resolved()(static_cast<uint64_t>(counter));
    for (int i = 0; i < 4; i += 2) {
      const double radius = std::sqrt(-2 * std::log((static_cast<double>(bits[static_cast<size_t>(i)]) + 1) * 0x1p-32));
      const double angle = 6.283185307179586 * static_cast<double>(bits[static_cast<size_t>(i) + 1]) * 0x1p-32;
      const int64_t at = counter * 4 + i;
      if (at < n) y[at] = mean + std * static_cast<T>(radius * std::cos(angle));
      if (at + 1 < n) y[at + 1] = mean + std * static_cast<T>(radius * std::sin(angle));
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

}  // namespace cnnx::cuda
