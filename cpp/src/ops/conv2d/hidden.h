// Convolutions whose outputs only what follows them reads: they may pool them, and write blocks in place of planes.
#pragma once

#include <optional>
#include <string_view>

#include "ops/conv2d/blocked.h"
#include "ops/conv2d/fused.h"

namespace cnnx {

/// Such a convolution and the algorithm that does it best.
struct HiddenConv {
  Conv2dGeometry geometry;
  std::string_view algorithm;
  bool pools;  // it can pool 2x2 windows of its outputs

  bool is_small_winograd() const;
  /// Whether it can write blocks, and read them if its channels fill some.
  bool takes_blocks() const;
};

/// The convolution of images of this shape and of x's type. Nothing if it must run as a layer: on a GPU, by autotune or
/// within a workspace limit; or if an argument is not right, for the layer to raise, which knows where it is.
std::optional<HiddenConv> find_hidden_conv(const Tensor& x, const Shape& shape, const Tensor& weight,
                                           const Tensor& bias, const ConvOptions& options);
/// y's values. Blocks are for those that take them, pooling for those that pool.
template <class T>
void run_hidden_conv(const HiddenConv& conv, const BlockedPass& pass, const T* x, const Tensor& weight,
                     const Tensor& bias, const ConvFusion& fusion, T* y);

}  // namespace cnnx
