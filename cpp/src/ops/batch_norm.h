// Kernels of batch normalization over (batch, channels, plane). Statistics and parameters are (channels).
#pragma once

#include <cstdint>
#include <utility>

#include "cnnx/ops.h"

namespace cnnx {

struct BatchNormGeometry {
  int64_t batch = 0;
  int64_t channels = 0;
  int64_t plane = 1;

  int64_t count() const { return batch * plane; }
};

/// What follows the normalization in the same pass: y = relu(batch_norm(x) + residual), each part optional.
struct BatchNormFusion {
  Tensor residual;  // of x's shape
  bool relu = false;
};
Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                  const Tensor& bias, const BatchNormOptions& options, const BatchNormFusion& fusion);
/// (scale, shift) with which scale * x + shift is the normalization by these statistics. Not recorded.
std::pair<Tensor, Tensor> batch_norm_affine(const Tensor& mean, const Tensor& var, const Tensor& weight,
                                            const Tensor& bias, double eps);

/// `w` and `b` may be null: 1 and 0. invstd is 1 / sqrt(variance + eps).
template <class T>
struct BatchNormKernels {
  /// Mean and biased variance of each channel.
  void (*statistics)(const BatchNormGeometry& g, const T* x, T* mean, T* var);
  /// running = (1 - momentum) * running + momentum * factor * batch.
  void (*blend)(int64_t channels, double momentum, double factor, const T* batch, T* running);
  void (*inverse_deviation)(int64_t channels, double eps, const T* var, T* invstd);
  /// The normalization as scale * x + shift.
  void (*affine)(int64_t channels, double eps, const T* mean, const T* var, const T* w, const T* b, T* scale, T* shift);
  /// `residual` may be null.
  void (*forward)(const BatchNormGeometry& g, const T* x, const T* mean, const T* invstd, const T* w, const T* b,
                  const T* residual, bool relu, T* y);
  /// With `through_statistics` mean and invstd are the batch's own and gradients flow through them. With `relu` gy is
  /// that of ReLU's output. gx, gw, gb may be null.
  void (*backward)(const BatchNormGeometry& g, bool through_statistics, bool relu, const T* x, const T* mean,
                   const T* invstd, const T* w, const T* b, const T* gy, T* gx, T* gw, T* gb);
};

}  // namespace cnnx
