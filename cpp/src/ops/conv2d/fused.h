// Convolution with what often follows it done in its last pass, for layers that see each other.
#pragma once

#include "cnnx/ops.h"

namespace cnnx {

/// What follows a convolution: y = scale * (x * w + bias) + shift + residual, then perhaps ReLU.
struct ConvFusion {
  Tensor scale = {}, shift = {};  // (K): batch normalization of known statistics. Not differentiated.
  Tensor residual = {};           // of y's shape
  bool relu = false;
};

/// What is added to scale * sum: scale * (sum + bias) + shift = scale * sum + (scale * bias + shift).
Tensor folded_shift(const ConvFusion& fusion, const Tensor& bias);

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& options,
              const ConvFusion& fusion);

/// max_pool2d(relu(conv2d(x)), 2), recorded; an undefined tensor where that is not better done one by one.
Tensor conv2d_relu_pooled(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& options);

}  // namespace cnnx
