// Kernels of power-average pooling: y = (sum over the window of |x|^p)^(1/p).
#pragma once

#include "ops/pool_window.h"

namespace cnnx {

template <class T>
struct LPPool2dKernels {
  void (*forward)(const PoolGeometry& g, T p, const T* x, T* y);
  void (*backward)(const PoolGeometry& g, T p, const T* x, const T* y, const T* gy, T* gx);
};

}  // namespace cnnx
