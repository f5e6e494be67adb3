// Matrix products on CUDA, for every operation that is one.
#pragma once

#include <cstdint>

#include "cnnx/precision.h"

namespace cnnx::cuda {

/// Row-major c (m, n) = op(a) (m, k) op(b) (k, n), for each of `items` matrices that lie a step of 0 or more apart. Not
/// both operands may be transposed. `bias` (n) may be null.
struct Product {
  int64_t items = 1;
  int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  int64_t step_a = 0, step_b = 0;
  Precision precision = Precision::kFull;  // of float32
  bool nested = false;                     // sums of short sums, which cuBLAS does not promise
};
template <class T>
void matrix_product(const Product& p, const T* a, const T* b, const T* bias, T* c);
/// The same in a precision other than kFull, without cuBLAS.
void tensor_product(const Product& p, const float* a, const float* b, const float* bias, float* c);

}  // namespace cnnx::cuda
