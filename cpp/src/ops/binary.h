// Kernels of the element-wise operations on two tensors.
#pragma once

#include "cnnx/ops.h"
#include "ops/broadcast.h"

namespace cnnx {

enum class BinaryOp : unsigned char { kAdd, kSub, kMul, kDiv, kPow, kAddRelu };

/// T is float, double or int64_t.
template <class T>
struct BinaryKernels {
  void (*apply)(BinaryOp op, const Broadcast& g, const T* a, const T* b, T* y);
  void (*compare)(Comparison comparison, const Broadcast& g, const T* a, const T* b, bool* y);
};

}  // namespace cnnx
