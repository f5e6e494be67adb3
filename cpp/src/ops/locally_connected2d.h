// Kernels of the locally connected layer: a convolution with filters of its own at every output position.
#pragma once

#include "ops/conv2d/conv2d.h"

namespace cnnx {

/// x (N, C, H, W), w (OH, OW, K, C, R, S), b (K, OH, OW) or null, y (N, K, OH, OW); the geometry has one group. Outputs
/// are overwritten. The workspace has workspace_bytes(g, pass) bytes.
template <class T>
struct LocallyConnectedKernels {
  int64_t (*workspace_bytes)(const Conv2dGeometry& g, ConvPass pass);
  void (*forward)(const Conv2dGeometry& g, const T* x, const T* w, const T* b, T* y, void* workspace);
  void (*backward_input)(const Conv2dGeometry& g, const T* gy, const T* w, T* gx, void* workspace);
  void (*backward_weight)(const Conv2dGeometry& g, const T* x, const T* gy, T* gw, void* workspace);
};

}  // namespace cnnx
