// Where a sliding window falls along one axis: the size formula of convolution and pooling, and what to do when it does not fit.
#pragma once

#include "cnnx/ops.h"

namespace cnnx {

/// One axis of a sliding window. Output position o covers input positions o * stride - pad_before + k * dilation.
struct WindowAxis {
  int64_t input = 0;
  int64_t kernel = 1;
  int64_t stride = 1;
  int64_t dilation = 1;
  int64_t pad_before = 0;
  int64_t pad_after = 0;  // as asked; with fit="ceil" the last window may reach further still
  int64_t output = 0;

  /// Input positions that a window spans, (kernel - 1) * dilation + 1.
  int64_t extent() const { return (kernel - 1) * dilation + 1; }
  /// First input position of an output's window; negative inside the padding.
  int64_t start(int64_t o) const { return o * stride - pad_before; }
};

struct Window2d {
  WindowAxis h;
  WindowAxis w;
};

/// Both axes of a window over an image of input_h x input_w. The output is (in + pads - extent) / stride + 1, rounded as
/// `fit` says (kDefault: the global mode). Raises std::invalid_argument for bad arguments, a window larger than the padded
/// input, and with kStrict for a size that does not fit, naming the neighbouring sizes that do.
/// In ceil mode the last window must start inside the input or the padding before it.
Window2d make_window2d(std::string_view op, int64_t input_h, int64_t input_w, Pair kernel, Pair stride, Pair dilation,
                       const Padding& padding, Fit fit);

}  // namespace cnnx
