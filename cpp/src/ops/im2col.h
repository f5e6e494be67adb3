// Kernels of im2col and col2im as operations. The geometry's filters do not count; col is (N, C * R * S, OH * OW).
#pragma once

#include "ops/conv2d/conv2d.h"

namespace cnnx {

template <class T>
struct Im2colKernels {
  void (*im2col)(const Conv2dGeometry& g, const T* x, T* col);
  void (*col2im)(const Conv2dGeometry& g, const T* col, T* x);
};

}  // namespace cnnx
