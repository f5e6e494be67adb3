// Kernels of batch normalization over (batch, channels, plane). Statistics and parameters are (channels).
#pragma once

#include <cstdint>

namespace cnnx {

struct BatchNormGeometry {
  int64_t batch = 0;
  int64_t channels = 0;
  int64_t plane = 1;

  int64_t count() const { return batch * plane; }
};

/// `w` and `b` may be null: 1 and 0. invstd is 1 / sqrt(variance + eps).
template <class T>
struct BatchNormKernels {
  /// Mean and biased variance of each channel.
  void (*statistics)(const BatchNormGeometry& g, const T* x, T* mean, T* var);
  void (*forward)(const BatchNormGeometry& g, const T* x, const T* mean, const T* invstd, const T* w, const T* b, T* y);
  /// With `through_statistics` mean and invstd are the batch's own and gradients flow through them. gx, gw, gb may be
  /// null.
  void (*backward)(const BatchNormGeometry& g, bool through_statistics, const T* x, const T* mean, const T* invstd,
                   const T* w, const T* gy, T* gx, T* gw, T* gb);
};

}  // namespace cnnx
