// Kernels of the multiclass hinge losses over (items, classes) scores.
#pragma once

#include "ops/class_loss.h"

namespace cnnx {

/// An item of target t loses scale * w_t * sum over c != t of max(0, margin - x_t + x_c)^p.
struct MultiMarginGeometry : ClassLossGeometry {
  bool squared = false;  // p == 2
  double margin = 1;
  double scale = 1;
};

template <class T>
struct MultiMarginKernels {
  void (*forward)(const MultiMarginGeometry& g, const T* x, const int64_t* targets, const T* w, T* losses);
  void (*backward)(const MultiMarginGeometry& g, const T* x, const int64_t* targets, const T* w, ItemGradient<T> gy,
                   T* gx);
};

}  // namespace cnnx
