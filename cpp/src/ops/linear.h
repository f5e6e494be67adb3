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

template <class T>
struct LinearKernels {
  void (*forward)(const LinearGeometry& g, const T* x, const T* w, const T* b, T* y);
  void (*backward_input)(const LinearGeometry& g, const T* gy, const T* w, T* gx);
  void (*backward_weight)(const LinearGeometry& g, const T* x, const T* gy, T* gw);
  void (*backward_bias)(const LinearGeometry& g, const T* gy, T* gb);
};

}  // namespace cnnx
