// The windows of pooling: strided ones, and the adaptive ones that divide an axis into a given number of overlapping
// parts.
#pragma once

#include "ops/window.h"

namespace cnnx {

/// One axis. Window o covers taps(o) positions from begin(o) on, `dilation` apart; some may lie in the padding.
struct PoolAxis {
  WindowAxis window;
  bool adaptive = false;

  constexpr int64_t input() const { return window.input; }
  constexpr int64_t output() const { return window.output; }
  constexpr int64_t begin(int64_t o) const { return adaptive ? o * window.input / window.output : window.start(o); }
  constexpr int64_t taps(int64_t o) const {
    return adaptive ? ceil_div((o + 1) * window.input, window.output) - begin(o) : window.kernel;
  }
  /// The most taps of any window.
  constexpr int64_t max_taps() const { return adaptive ? ceil_div(window.input, window.output) + 1 : window.kernel; }
  /// Positions that a window of average pooling is said to have when padding counts: those up to the padded end.
  constexpr int64_t padded_taps(int64_t o) const {
    const int64_t limit = window.input + window.pad_after - begin(o);
    return taps(o) < limit ? taps(o) : limit;
  }
};

/// The taps [first, last) of one window that lie inside the input.
struct InsideTaps {
  int64_t first;
  int64_t last;
};
inline InsideTaps inside_taps(const PoolAxis& axis, int64_t o) {
  const int64_t begin = axis.begin(o), step = axis.window.dilation;
  const int64_t first = begin >= 0 ? 0 : ceil_div(-begin, step);
  const int64_t room = axis.input() - begin;  // tap * step < room
  const int64_t last = room <= 0 ? 0 : ceil_div(room, step);
  return {first, last < axis.taps(o) ? last : axis.taps(o)};
}

/// Planes are the N * C images, each H x W.
struct PoolGeometry {
  int64_t planes = 0;
  PoolAxis h;
  PoolAxis w;
  int threads = 1;  // that a kernel may use: each may have a workspace of its own

  constexpr int64_t input_plane() const { return h.input() * w.input(); }
  constexpr int64_t output_plane() const { return h.output() * w.output(); }
};

/// Checks the arguments; x is (N, C, H, W) or (C, H, W). Raises std::invalid_argument.
PoolGeometry pool_geometry(const char* op, const Tensor& x, Pair kernel, std::optional<Pair> stride, Pair dilation,
                           const Padding& padding, Fit fit);
PoolGeometry adaptive_geometry(const char* op, const Tensor& x, Pair output_size);
/// x's shape with the last two axes replaced.
Shape pooled_shape(const PoolGeometry& g, const Shape& x);

/// Average and max pooling over any windows, recorded.
Tensor average_windows(const char* op, const PoolGeometry& g, bool count_include_pad, const Tensor& x);
Tensor max_windows(const char* op, const PoolGeometry& g, const Tensor& x);

}  // namespace cnnx
