// What lies between convolutions that follow each other, where nobody else sees it: it need not be planes.
#pragma once

#include "ops/conv2d/conv2d.h"

namespace cnnx {

/// Images in blocks of channels, (N, C / lanes, rows, cols, lanes): each plane from row `top` and column `left` on in a
/// border of zeros, which is what the convolution that reads them wants around it.
struct BlockedShape {
  int64_t blocks = 0, lanes = 0, rows = 0, cols = 0, top = 0, left = 0;

  int64_t values(int64_t images) const { return images * blocks * rows * cols * lanes; }
};

/// A forward pass that may read and write blocks, and pool what it computes.
struct BlockedPass {
  bool from_blocks = false;     // x is as reads() says; else it is planes
  bool pools = false;           // y is what 2x2 max pooling with stride 2 makes of the output
  BlockedShape to = {};         // y's; planes if it has no lanes
  uint8_t* switches = nullptr;  // of the pooling, if they are wanted: then y is planes
};

/// Winograd's algorithms can: the one of 4x4 tiles if `small`, else the one of 6x6. The epilogue has no residual;
/// workspace and weights are those of their Conv2dKernels.
template <class T>
struct BlockedConv2dKernels {
  /// How x is to be blocked; without lanes if its channels do not fill blocks, or there are groups.
  BlockedShape (*reads)(const Conv2dGeometry& g, bool small);
  void (*forward)(const Conv2dGeometry& g, bool small, const BlockedPass& pass, const T* x, const T* w,
                  const ConvEpilogue<T>& epilogue, T* y, void* workspace);
};

}  // namespace cnnx
