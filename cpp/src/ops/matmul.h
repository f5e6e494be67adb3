// Kernels of the batched matrix product.
#pragma once

#include "cnnx/precision.h"

namespace cnnx {

/// `batch` products of op(A) (m, k) and op(B) (k, n); a stride of 0 repeats an operand.
struct MatmulGeometry {
  int64_t batch = 1;
  int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  int64_t stride_a = 0, stride_b = 0;
  Precision precision = Precision::kFull;  // on CUDA devices
};

template <class T>
struct MatmulKernels {
  void (*forward)(const MatmulGeometry& g, const T* a, const T* b, T* c);
};

}  // namespace cnnx
