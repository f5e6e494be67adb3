// Dropout on CUDA: the same mask as on the CPU, four values a Philox counter.
#include "ops/dropout.h"

#include "cuda/fours.h"

namespace cnnx::cuda {
namespace {

template <class T>
void apply(int64_t n, Philox stream, float p, T scale, const T* x, T* y) {
  const bool fours = begin_fours(x, y);
  for_each(ceil_div(n, 4), [=] __device__(int64_t counter) {
    const auto bits = stream.resolved()(static_cast<uint64_t>(counter));
    const auto dropped = [&](int i, T value) {
      return uniform01(bits[static_cast<size_t>(i)]) >= p ? scale * value : T(0);
    };
    const int64_t at = counter * 4;
    if (fours && at + 4 <= n) {
      Four<T> four = four_at(x, at);
#pragma unroll
      for (int i = 0; i < 4; ++i) four.value[i] = dropped(i, four.value[i]);
      put_four(y, at, four);
    } else {
      for (int i = 0; i < 4 && at + i < n; ++i) y[at + i] = dropped(i, x[at + i]);
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
