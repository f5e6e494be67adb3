// Dropout on the CPU: four values a Philox counter.
#include "ops/dropout.h"

#include "kernels.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

template <class T>
void apply(int64_t n, Philox stream, float p, T scale, const T* x, T* y) {
  parallel_for((n + 3) / 4, 2048, [=](int64_t begin, int64_t end) {
    for (int64_t counter = begin; counter < end; ++counter) {
      const auto bits = stream(static_cast<uint64_t>(counter));
      for (int64_t i = 0; i < 4 && counter * 4 + i < n; ++i) {
        y[counter * 4 + i] = uniform01(bits[static_cast<size_t>(i)]) >= p ? scale * x[counter * 4 + i] : T(0);
      }
    }
  });
}

template <class T>
constexpr DropoutKernels<T> kTable{apply<T>};

}  // namespace

template <>
const DropoutKernels<float>& table() {
  return kTable<float>;
}
template <>
const DropoutKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
