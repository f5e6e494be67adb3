// The batched matrix product on CUDA.
#include "ops/matmul.h"

#include "cuda/launch.h"
#include "cuda/matrix_product.h"

namespace cnnx::cuda {
namespace {

template <class T>
void forward(const MatmulGeometry& g, const T* a, const T* b, T* c) {
  matrix_product<T>({g.batch, g.m, g.n, g.k, g.transpose_a, g.transpose_b, g.stride_a, g.stride_b, g.precision}, a, b,
                    nullptr, c);
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

}  // namespace cnnx::cuda
