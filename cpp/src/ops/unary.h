// The element-wise functions of one tensor, activations included: kernels, and the recorded call that all of them
// share.
#pragma once

#include "cnnx/tensor.h"

namespace cnnx {

enum class UnaryOp : unsigned char {
  kNeg,
  kExp,
  kLog,
  kSqrt,
  kAbs,
  kClip,  // to [a, b]
  kRelu,
  kLeakyRelu,  // a is the negative slope
  kSigmoid,
  kTanh,
  kGelu,
  kGeluTanh,
  kSilu,
};

/// `a` and `b` are the parameters of the functions that have some. Of integers, kNeg, kAbs, kClip and kRelu alone,
/// without backward.
template <class T>
struct UnaryKernels {
  void (*forward)(UnaryOp op, int64_t n, T a, T b, const T* x, T* y);
  void (*backward)(UnaryOp op, int64_t n, T a, T b, const T* x, const T* y, const T* gy, T* gx);
};

/// Applies and records the function; `name` appears in errors.
Tensor unary(UnaryOp op, const char* name, Tensor x, double a = 0, double b = 0);

/// gy where y > 0, else 0: for every operation that ends in ReLU with the output y.
Tensor relu_backward(const Tensor& gy, const Tensor& y);

}  // namespace cnnx
