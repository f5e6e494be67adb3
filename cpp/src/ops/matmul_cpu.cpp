// The batched matrix product on BLAS.
#include "ops/matmul.h"

#include "blas.h"
#include "kernels.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

template <class T>
void forward(const MatmulGeometry& g, const T* a, const T* b, T* c) {
  const int64_t lda = g.transpose_a ? g.m : g.k, ldb = g.transpose_b ? g.k : g.n;
  const auto product = [&](int64_t i, auto multiply) {
    multiply(g.transpose_a, g.transpose_b, g.m, g.n, g.k, T(1), a + i * g.stride_a, lda, b + i * g.stride_b, ldb, T(0),
             c + i * g.m * g.n, g.n);
  };
  if (g.batch == 1) return product(0, parallel_gemm<T>);
  parallel_for(g.batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) product(i, gemm<T>);
  });
}

template <class T>
constexpr MatmulKernels<T> kTable{forward<T>};

}  // namespace

template <>
const MatmulKernels<float>& table() {
  return kTable<float>;
}
template <>
const MatmulKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
