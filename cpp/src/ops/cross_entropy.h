// Kernels of cross-entropy over (items, classes, inner) logits.
#pragma once

#include "ops/class_loss.h"

namespace cnnx {

struct CrossEntropyGeometry : ClassLossGeometry {
  int64_t ignore_index = -100;
  double smoothing = 0;
};

/// `w` holds one weight a class, or is null. `lse` is the logarithm of the sum of exp(logits) of each item.
template <class T>
struct CrossEntropyKernels {
  void (*forward)(const CrossEntropyGeometry& g, const T* x, const int64_t* targets, const T* w, T* losses, T* lse);
  void (*backward)(const CrossEntropyGeometry& g, const T* x, const int64_t* targets, const T* w, const T* lse,
                   ItemGradient<T> gy, T* gx);
};

}  // namespace cnnx
