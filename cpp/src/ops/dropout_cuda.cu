// Dropout on CUDA: the same mask as on the CPU, four values a Philox counter.
#include "ops/dropout.h"

#include "cuda/launch.h"

namespace cnnx::cuda {
namespace {

template <class T>
void apply(int64_t n, Philox stream, float p, T scale, const T* x, T* y) {
  for_each(ceil_div(n, 4), [=] __device__(int64_t counter) {
    const auto bits = stream.resolved()(static_cast<uint64_t>(counter));
    for (int i = 0; i < 4; ++i) {
      const int64_t at = counter * 4 + i;
      if (at < n) y[at] = uniform01(bits[static_cast<size_t>(i)]) >= p ? scale * x[at] : T(0);
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

}  // namespace cnnx::cuda
