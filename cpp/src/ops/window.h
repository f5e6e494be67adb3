// Where a sliding window falls along one axis: the size formula of convolution and pooling, and what to do when it does
// not fit.
#pragma once

#include <algorithm>

#include "cnnx/ops.h"
#include "rounding.h"

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

  bool operator==(const WindowAxis&) const = default;
  /// Input positions that a window spans, (kernel - 1) * dilation + 1.
  constexpr int64_t extent() const { return (kernel - 1) * dilation + 1; }
  /// First input position of an output's window; negative inside the padding.
  constexpr int64_t start(int64_t o) const { return o * stride - pad_before; }
  /// The output whose tap k lies at input i; -1 if there is none.
  constexpr int64_t output_at(int64_t i, int64_t k) const {
    const int64_t distance = i + pad_before - k * dilation, o = distance / stride;
    return distance >= 0 && o * stride == distance && o < output ? o : -1;
  }
};

/// Output positions o of one axis whose input o * stride - pad + offset lies inside the image: [first, last).
struct InsideRange {
  int64_t first;
  int64_t last;
};
inline InsideRange inside_range(const WindowAxis& axis, int64_t offset) {
  const int64_t shift = offset - axis.pad_before;
  const int64_t first = shift >= 0 ? 0 : ceil_div(-shift, axis.stride);
  const int64_t room = axis.input - shift;  // o * stride < room
  const int64_t last = room <= 0 ? 0 : ceil_div(room, axis.stride);
  return {std::min(first, axis.output), std::clamp(last, std::min(first, axis.output), axis.output)};
}

struct Window2d {
  WindowAxis h;
  WindowAxis w;
};

/// Both axes of a window over an image of input_h x input_w. The output is (in + pads - extent) / stride + 1, rounded
/// as `fit` says (kDefault: the global mode). Raises std::invalid_argument for bad arguments, a window larger than the
/// padded input, and with kStrict for a size that does not fit, naming the neighbouring sizes that do. In ceil mode the
/// last window must start inside the input or the padding before it.
Window2d make_window2d(std::string_view op, int64_t input_h, int64_t input_w, Pair kernel, Pair stride, Pair dilation,
                       const Padding& padding, Fit fit);

}  // namespace cnnx
