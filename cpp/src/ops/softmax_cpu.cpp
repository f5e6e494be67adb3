// softmax and log_softmax on the CPU. The largest value is subtracted first, so that exp cannot overflow.
//
// Columns of `inner` are taken kBlock at a time, which turns every step into a loop over neighbours; a contiguous axis
// (inner == 1) has its own loops along the axis.
#include "ops/softmax.h"

#include <algorithm>
#include <cmath>

#include "kernels.h"
#include "ops/vmath.h"
#include "parallel.h"
#include "rounding.h"

namespace cnnx::CNNX_ISA {
namespace {

constexpr int64_t kBlock = 64;

template <class T>
void forward_row(int64_t length, bool logarithm, const T* x, T* y) {
  T largest = x[0];
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < length; ++i) largest = std::max(largest, x[i]);
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < length; ++i) {
    const T e = vmath::exp(x[i] - largest);
    sum += e;
    y[i] = e;
  }
  if (logarithm) {
    const T shift = largest + std::log(sum);
    for (int64_t i = 0; i < length; ++i) y[i] = x[i] - shift;
  } else {
    const T scale = T(1) / sum;
    for (int64_t i = 0; i < length; ++i) y[i] *= scale;
  }
}

/// `width` columns at a distance of 1, `length` rows at a distance of `inner`.
template <class T>
void forward_block(int64_t length, int64_t inner, int64_t width, bool logarithm, const T* x, T* y) {
  T largest[kBlock], sum[kBlock];
  for (int64_t j = 0; j < width; ++j) largest[j] = x[j], sum[j] = 0;
  for (int64_t i = 1; i < length; ++i) {
    for (int64_t j = 0; j < width; ++j) largest[j] = std::max(largest[j], x[i * inner + j]);
  }
  for (int64_t i = 0; i < length; ++i) {
    for (int64_t j = 0; j < width; ++j) {
      const T e = vmath::exp(x[i * inner + j] - largest[j]);
      sum[j] += e;
      y[i * inner + j] = e;
    }
  }
  for (int64_t j = 0; j < width; ++j) sum[j] = logarithm ? largest[j] + std::log(sum[j]) : T(1) / sum[j];
  for (int64_t i = 0; i < length; ++i) {
    for (int64_t j = 0; j < width; ++j)
      y[i * inner + j] = logarithm ? x[i * inner + j] - sum[j] : y[i * inner + j] * sum[j];
  }
}

template <class T>
void backward_row(int64_t length, bool logarithm, const T* y, const T* gy, T* gx) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < length; ++i) sum += logarithm ? gy[i] : gy[i] * y[i];
  if (logarithm) {
    for (int64_t i = 0; i < length; ++i) gx[i] = gy[i] - vmath::exp(y[i]) * sum;
  } else {
    for (int64_t i = 0; i < length; ++i) gx[i] = (gy[i] - sum) * y[i];
  }
}

template <class T>
void backward_block(int64_t length, int64_t inner, int64_t width, bool logarithm, const T* y, const T* gy, T* gx) {
  T sum[kBlock];
  for (int64_t j = 0; j < width; ++j) sum[j] = 0;
  for (int64_t i = 0; i < length; ++i) {
    for (int64_t j = 0; j < width; ++j) sum[j] += logarithm ? gy[i * inner + j] : gy[i * inner + j] * y[i * inner + j];
  }
  for (int64_t i = 0; i < length; ++i) {
    for (int64_t j = 0; j < width; ++j) {
      const int64_t at = i * inner + j;
      gx[at] = logarithm ? gy[at] - vmath::exp(y[at]) * sum[j] : (gy[at] - sum[j]) * y[at];
    }
  }
}

/// Calls row(offset) for every contiguous row, or block(offset, width) for every block of columns.
template <class Row, class Block>
void for_each_slice(const ReduceGeometry& g, Row row, Block block) {
  if (g.length == 0) return;
  if (g.inner == 1) {
    parallel_for(g.outer, item_grain(g.length * 4), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) row(i * g.length);
    });
    return;
  }
  const int64_t blocks = ceil_div(g.inner, kBlock);
  parallel_for(g.outer * blocks, item_grain(g.length * kBlock * 4), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t column = i % blocks * kBlock;
      block(i / blocks * g.length * g.inner + column, std::min(kBlock, g.inner - column));
    }
  });
}

template <class T>
void forward(const ReduceGeometry& g, bool logarithm, const T* x, T* y) {
  for_each_slice(
      g, [=](int64_t at) { forward_row(g.length, logarithm, x + at, y + at); },
      [=](int64_t at, int64_t width) { forward_block(g.length, g.inner, width, logarithm, x + at, y + at); });
}

template <class T>
void backward(const ReduceGeometry& g, bool logarithm, const T* y, const T* gy, T* gx) {
  for_each_slice(
      g, [=](int64_t at) { backward_row(g.length, logarithm, y + at, gy + at, gx + at); },
      [=](int64_t at, int64_t width) {
        backward_block(g.length, g.inner, width, logarithm, y + at, gy + at, gx + at);
      });
}

template <class T>
constexpr SoftmaxKernels<T> kTable{forward<T>, backward<T>};

}  // namespace

template <>
const SoftmaxKernels<float>& table() {
  return kTable<float>;
}
template <>
const SoftmaxKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
