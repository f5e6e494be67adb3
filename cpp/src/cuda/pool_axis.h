// The windows of pooling in 32 bits, for threads: which taps of a window lie inside the image, and which windows cover
// an input.
#pragma once

#include "cuda/launch.h"
#include "ops/pool_window.h"

namespace cnnx::cuda {

struct SmallAxis {
  int input, output, kernel, stride, dilation, pad, pad_after, taps_most;
  bool adaptive;

  explicit SmallAxis(const PoolAxis& a)
      : input(static_cast<int>(a.window.input)),
        output(static_cast<int>(a.window.output)),
        kernel(static_cast<int>(a.window.kernel)),
        stride(small_step(a.window.stride)),
        dilation(small_step(a.window.dilation)),
        pad(static_cast<int>(a.window.pad_before)),
        pad_after(static_cast<int>(a.window.pad_after)),
        taps_most(static_cast<int>(a.max_taps())),
        adaptive(a.adaptive) {
    // Adaptive windows multiply lengths.
    const bool fits = adaptive ? is_small(a.window.input + 1) && is_small(a.window.output + 1) &&
                                     is_small((a.window.input + 1) * (a.window.output + 1))
                               : is_small(a.window.input) && is_small(a.window.output) && is_small(a.window.extent()) &&
                                     is_small(a.window.input + a.window.extent() * 2 + (int64_t{1} << 30));
    if (!fits) throw CudaError("[cuda] the images to be pooled, or the windows, are too long.");
  }

  __device__ int begin(int o) const { return adaptive ? o * input / output : o * stride - pad; }
  __device__ int taps(int o) const { return adaptive ? ((o + 1) * input + output - 1) / output - begin(o) : kernel; }
  /// The taps [first, last) inside the image.
  __device__ int first_tap(int o) const {
    const int at = begin(o);
    return at >= 0 ? 0 : (-at + dilation - 1) / dilation;
  }
  __device__ int last_tap(int o) const {
    const int room = input - begin(o), inside = room <= 0 ? 0 : (room + dilation - 1) / dilation;
    return std::min(inside, taps(o));
  }
  /// As in PoolAxis: the taps that average pooling counts when padding does.
  __device__ int padded_taps(int o) const { return std::min(taps(o), input + pad_after - begin(o)); }

  /// The windows [first, last) that may cover input i.
  __device__ int first_window(int i) const {
    if (adaptive) return i * output / input;
    const int reach = i + pad - (kernel - 1) * dilation;
    return reach <= 0 ? 0 : (reach + stride - 1) / stride;
  }
  __device__ int last_window(int i) const {
    const int last = adaptive ? ((i + 1) * output + input - 1) / input : (i + pad) / stride + 1;
    return std::min(last, output);
  }
  /// The tap of window o at input i; -1 if it has none there.
  __device__ int tap(int o, int i) const {
    const int distance = i - begin(o), tap = distance / dilation;
    return distance >= 0 && tap * dilation == distance && tap < taps(o) ? tap : -1;
  }
};

struct SmallPool {
  SmallAxis h, w;
  Divisor in_columns, in_plane, out_columns, out_plane;

  explicit SmallPool(const PoolGeometry& g)
      : h(g.h),
        w(g.w),
        in_columns(std::max<int64_t>(1, g.w.input())),
        in_plane(std::max<int64_t>(1, g.input_plane())),
        out_columns(std::max<int64_t>(1, g.w.output())),
        out_plane(std::max<int64_t>(1, g.output_plane())) {
    if (g.planes > 0 && !is_small(std::max(g.input_plane(), g.output_plane()))) {
      throw CudaError("[cuda] an image to be pooled has 2^31 pixels or more.");
    }
  }
};

/// A value's plane, row and column.
struct PlanePlace {
  int64_t plane;
  int row, column;
};
__device__ inline PlanePlace place_of(int64_t i, const Divisor& plane, const Divisor& columns) {
  const int64_t p = i / plane.value;
  const auto rest = static_cast<uint32_t>(i - p * plane.value), row = columns.divide(rest);
  return {p, static_cast<int>(row), static_cast<int>(rest - row * columns.value)};
}

/// Calls fn(the output's number, its row and column, the tap's) for the windows that have a tap at an input.
template <class F>
__device__ void for_each_window(const SmallPool& g, const PlanePlace& input, F&& fn) {
  for (int oh = g.h.first_window(input.row); oh < g.h.last_window(input.row); ++oh) {
    const int r = g.h.tap(oh, input.row);
    if (r < 0) continue;
    const int64_t row = (input.plane * g.h.output + oh) * g.w.output;
    for (int ow = g.w.first_window(input.column); ow < g.w.last_window(input.column); ++ow) {
      if (const int s = g.w.tap(ow, input.column); s >= 0) fn(row + ow, oh, ow, r, s);
    }
  }
}

}  // namespace cnnx::cuda
