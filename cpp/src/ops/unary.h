// Kernels of the element-wise functions of one tensor.
#pragma once

#include <cstdint>

namespace cnnx {

enum class UnaryOp : unsigned char { kNeg, kExp, kLog, kSqrt, kAbs, kClip };

/// `low` and `high` are the bounds of clip; the others ignore them.
template <class T>
struct UnaryKernels {
  void (*forward)(UnaryOp op, int64_t n, T low, T high, const T* x, T* y);
  void (*backward)(UnaryOp op, int64_t n, T low, T high, const T* x, const T* y, const T* gy, T* gx);
};

}  // namespace cnnx
