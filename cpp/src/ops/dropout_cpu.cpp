// Dropout on the CPU.
#include "ops/dropout.h"

#include "kernels.h"
#include "ops/random_bits.h"

namespace cnnx::CNNX_ISA {
namespace {

template <class T>
void apply(int64_t n, Philox stream, float p, T scale, const T* x, T* y) {
  for_each_bits(n, stream, [=](int64_t first, int64_t count, const uint32_t* bits) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) {
      const T kept = scale * x[first + i];  // read in any case, which lets the compiler vectorise the loop
      y[first + i] = uniform01(bits[i]) >= p ? kept : T(0);
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
