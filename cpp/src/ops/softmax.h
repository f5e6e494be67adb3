// Kernels of softmax and log_softmax over the middle axis of (outer, length, inner).
#pragma once

#include "ops/reduce.h"

namespace cnnx {

template <class T>
struct SoftmaxKernels {
  void (*forward)(const ReduceGeometry& g, bool logarithm, const T* x, T* y);
  void (*backward)(const ReduceGeometry& g, bool logarithm, const T* y, const T* gy, T* gx);
};

}  // namespace cnnx
