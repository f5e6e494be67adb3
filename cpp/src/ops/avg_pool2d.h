// Kernels of average pooling, by strided and by adaptive windows.
#pragma once

#include "ops/pool_window.h"

namespace cnnx {

template <class T>
struct AvgPool2dKernels {
  void (*forward)(const PoolGeometry& g, bool count_include_pad, const T* x, T* y);
  void (*backward)(const PoolGeometry& g, bool count_include_pad, const T* gy, T* gx);
};

}  // namespace cnnx
