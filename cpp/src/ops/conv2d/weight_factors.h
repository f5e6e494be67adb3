// The gradient of a convolution's weight as the product of two matrices that can be kept in its place.
#pragma once

#include "ops/conv2d/conv2d.h"

namespace cnnx {

/// gw (K, C * R * S) = left^T right with left (N * OH * OW, K) = gy and right (N * OH * OW, C * R * S) = image patches;
/// for one group.
template <class T>
struct WeightFactorsKernels {
  bool (*accepts)(const Conv2dGeometry& g);
  int64_t (*workspace_bytes)(const Conv2dGeometry& g);
  void (*factors)(const Conv2dGeometry& g, const T* x, const T* gy, T* left, T* right, void* workspace);
};

}  // namespace cnnx
