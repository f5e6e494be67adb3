// The fully-connected layer on CUDA: products, and a sum for the bias.
#include "ops/linear.h"

#include "cuda/launch.h"
#include "cuda/matrix_product.h"
#include "ops/reduce.h"

namespace cnnx::cuda {
namespace {

template <class T>
void forward(const LinearGeometry& g, const T* x, const T* w, const T* b, T* y) {
  matrix_product<T>({.m = g.rows, .n = g.out, .k = g.in, .transpose_b = true, .precision = g.precision}, x, w, b, y);
}

template <class T>
void backward_input(const LinearGeometry& g, const T* gy, const T* w, T* gx) {
  matrix_product<T>({.m = g.rows, .n = g.in, .k = g.out, .precision = g.precision}, gy, w, nullptr, gx);
}

template <class T>
void backward_weight(const LinearGeometry& g, const T* x, const T* gy, T* gw) {
  matrix_product<T>({.m = g.out, .n = g.in, .k = g.rows, .transpose_a = true, .precision = g.precision}, gy, x, nullptr,
                    gw);
}

template <class T>
void backward_bias(const LinearGeometry& g, const T* gy, T* gb) {
  table<ReduceKernels<T>>().sum({1, g.rows, g.out}, gy, gb);
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

}  // namespace cnnx::cuda
