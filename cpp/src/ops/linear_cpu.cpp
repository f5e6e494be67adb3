// The fully-connected layer on BLAS.
#include "ops/linear.h"

#include <algorithm>

#include "blas.h"
#include "kernels.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

template <class T>
void forward(const LinearGeometry& g, const T* x, const T* w, const T* b, T* y) {
  if (b) {
    parallel_for(g.rows, item_grain(g.out), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) std::copy(b, b + g.out, y + row * g.out);
    });
  }
  parallel_gemm<T>(false, true, g.rows, g.out, g.in, T(1), x, g.in, w, g.in, b ? T(1) : T(0), y, g.out);
}

template <class T>
void backward_input(const LinearGeometry& g, const T* gy, const T* w, T* gx) {
  parallel_gemm<T>(false, false, g.rows, g.in, g.out, T(1), gy, g.out, w, g.in, T(0), gx, g.in);
}

template <class T>
void backward_weight(const LinearGeometry& g, const T* x, const T* gy, T* gw) {
  parallel_gemm<T>(true, false, g.out, g.in, g.rows, T(1), gy, g.out, x, g.in, T(0), gw, g.in);
}

template <class T>
void backward_bias(const LinearGeometry& g, const T* gy, T* gb) {
  parallel_for(g.out, std::max<int64_t>(16, item_grain(g.rows)), [&](int64_t begin, int64_t end) {
    std::fill(gb + begin, gb + end, T(0));
    for (int64_t row = 0; row < g.rows; ++row) {
      const T* values = gy + row * g.out;
      for (int64_t i = begin; i < end; ++i) gb[i] += values[i];
    }
  });
}

template <class T>
constexpr LinearKernels<T> kTable{forward<T>, backward_input<T>, backward_weight<T>, backward_bias<T>};

}  // namespace

template <>
const LinearKernels<float>& table() {
  return kTable<float>;
}
template <>
const LinearKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
