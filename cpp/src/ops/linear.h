// Kernels of the fully-connected layer. x (rows, in), w (out, in), b (out) or null, y (rows, out).
#pragma once

#include "cnnx/precision.h"

namespace cnnx {

struct LinearGeometry {
  int64_t rows = 0;
  int64_t in = 0;
  int64_t out = 0;
  Precision precision = Precision::kFull;  // on CUDA devices
};

/// A gradient of the weight that is a sum of no more outer products than this may stay a product (product_gradient.h).
/// backward_weight() adds them in order, as the optimizer does: the same bits, whether the gradient is read or not.
inline constexpr int64_t kMostOuterProducts = 64;

template <class T>
struct LinearKernels {
  void (*forward)(const LinearGeometry& g, const T* x, const T* w, const T* b, T* y);
  void (*backward_input)(const LinearGeometry& g, const T* gy, const T* w, T* gx);
  void (*backward_weight)(const LinearGeometry& g, const T* x, const T* gy, T* gw);
  void (*backward_bias)(const LinearGeometry& g, const T* gy, T* gb);
};

}  // namespace cnnx
