// Kernel of dropout: forward on values and backward on gradients alike.
#pragma once

#include "random.h"

namespace cnnx {

template <class T>
struct DropoutKernels {
  /// y[i] = scale * x[i] where the stream's i-th uniform number is at least p, else 0.
  void (*apply)(int64_t n, Philox stream, float p, T scale, const T* x, T* y);
};

}  // namespace cnnx
