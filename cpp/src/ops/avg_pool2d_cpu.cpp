// Average pooling on the CPU: sums down the columns of a row of windows, which are vectors, then along the row.
#include "ops/avg_pool2d.h"

#include <algorithm>
#include <vector>

#include "kernels.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

/// The windows of one axis: the inputs [first, last) of each, and the number its sum is divided by.
template <class T>
struct AxisWindows {
  AxisWindows(const PoolAxis& axis, bool count_include_pad)
      : first(size(axis)), last(size(axis)), count(size(axis)), stride(axis.adaptive ? 0 : axis.window.stride) {
    for (size_t o = 0; o < first.size(); ++o) {
      const auto at = static_cast<int64_t>(o);
      const InsideTaps taps = inside_taps(axis, at);
      first[o] = axis.begin(at) + taps.first;
      last[o] = axis.begin(at) + taps.last;
      count[o] = static_cast<T>(count_include_pad ? axis.padded_taps(at) : taps.last - taps.first);
      if (stride > 0 && taps.last - taps.first == axis.window.kernel) {
        if (whole_end == 0) whole_begin = at;
        whole_end = at + 1;
      }
    }
  }
  static size_t size(const PoolAxis& axis) { return static_cast<size_t>(axis.output()); }

  std::vector<int64_t> first, last;
  std::vector<T> count;
  int64_t stride;                          // 0 if the windows are adaptive
  int64_t whole_begin = 0, whole_end = 0;  // the windows that lie inside the input with all their taps
};

/// Calls fn(window, first input, last) for the windows in [begin, end).
template <class T, class F>
void for_each_window(const AxisWindows<T>& axis, int64_t begin, int64_t end, F fn) {
  for (int64_t o = begin; o < end; ++o) fn(o, axis.first[static_cast<size_t>(o)], axis.last[static_cast<size_t>(o)]);
}

/// Calls fn(window, input) for every tap of every window in [begin, end), which have `kernel` taps and are kStride
/// apart: tap by tap, so that the compiler makes vectors of windows.
template <int kStride, class F>
void for_each_tap(int64_t begin, int64_t end, int64_t input, int64_t kernel, F fn) {
  for (int64_t tap = 0; tap < kernel; ++tap) {
#pragma omp simd
    for (int64_t o = begin; o < end; ++o) fn(o, input + (o - begin) * kStride + tap);
  }
}

/// Calls fn(window, input) for every tap of every window of a row.
template <class T, class F>
void for_each_tap(const AxisWindows<T>& axis, F fn) {
  const auto one_by_one = [&](int64_t o, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) fn(o, i);
  };
  int64_t begin = axis.whole_begin, end = axis.whole_end;
  if (axis.stride != 1 && axis.stride != 2) begin = end = 0;
  if (begin < end) {
    const auto at = static_cast<size_t>(begin);
    const int64_t kernel = axis.last[at] - axis.first[at];
    axis.stride == 1 ? for_each_tap<1>(begin, end, axis.first[at], kernel, fn)
                     : for_each_tap<2>(begin, end, axis.first[at], kernel, fn);
  }
  for_each_window(axis, 0, begin, one_by_one);
  for_each_window(axis, end, static_cast<int64_t>(axis.first.size()), one_by_one);
}

/// Calls fn(first plane, last, windows of the rows, windows of the columns, one row of input), in parallel.
template <class T, class F>
void for_each_run(const PoolGeometry& g, bool count_include_pad, const F& fn) {
  const AxisWindows<T> rows(g.h, count_include_pad), columns(g.w, count_include_pad);
  const int64_t run = item_grain(g.input_plane() + g.output_plane()), runs = ceil_div(g.planes, run);
  const auto slots = static_cast<int>(std::min<int64_t>(region_threads(), runs));
  const int64_t pitch = round_up(g.w.input(), 16);
  std::vector<T> sums(static_cast<size_t>(slots * pitch));
  parallel_slots(runs, slots, [&](int64_t i, int slot) {
    fn(i * run, std::min(g.planes, (i + 1) * run), rows, columns, sums.data() + slot * pitch);
  });
}

template <class T>
void forward(const PoolGeometry& g, bool count_include_pad, const T* x, T* y) {
  const int64_t width = g.w.input(), outputs = g.w.output();
  for_each_run<T>(g, count_include_pad,
                  [=](int64_t plane, int64_t end, const auto& rows, const auto& columns, T* sums) {
                    for (; plane < end; ++plane) {
                      const T* const image = x + plane * g.input_plane();
                      for_each_window(rows, 0, g.h.output(), [&](int64_t oh, int64_t top, int64_t bottom) {
                        std::fill(sums, sums + width, T(0));
                        for (int64_t ih = top; ih < bottom; ++ih) {
                          const T* const from = image + ih * width;
#pragma omp simd
                          for (int64_t iw = 0; iw < width; ++iw) sums[iw] += from[iw];
                        }
                        T* const to = y + plane * g.output_plane() + oh * outputs;
                        std::fill(to, to + outputs, T(0));
                        for_each_tap(columns, [=](int64_t ow, int64_t iw) { to[ow] += sums[iw]; });
                        const T* const counts = columns.count.data();
                        const T count = rows.count[static_cast<size_t>(oh)];
#pragma omp simd
                        for (int64_t ow = 0; ow < outputs; ++ow) to[ow] /= count * counts[ow];
                      });
                    }
                  });
}

template <class T>
void backward(const PoolGeometry& g, bool count_include_pad, const T* gy, T* gx) {
  const int64_t width = g.w.input(), outputs = g.w.output();
  for_each_run<T>(
      g, count_include_pad, [=](int64_t plane, int64_t end, const auto& rows, const auto& columns, T* sums) {
        std::fill(gx + plane * g.input_plane(), gx + end * g.input_plane(), T(0));
        for (; plane < end; ++plane) {
          T* const image = gx + plane * g.input_plane();
          for_each_window(rows, 0, g.h.output(), [&](int64_t oh, int64_t top, int64_t bottom) {
            const T* const from = gy + plane * g.output_plane() + oh * outputs;
            const T* const counts = columns.count.data();
            const T count = rows.count[static_cast<size_t>(oh)];
            std::fill(sums, sums + width, T(0));
            for_each_tap(columns, [=](int64_t ow, int64_t iw) { sums[iw] += from[ow] / (count * counts[ow]); });
            for (int64_t ih = top; ih < bottom; ++ih) {
              T* const to = image + ih * width;
#pragma omp simd
              for (int64_t iw = 0; iw < width; ++iw) to[iw] += sums[iw];
            }
          });
        }
      });
}

template <class T>
constexpr AvgPool2dKernels<T> kTable{forward<T>, backward<T>};

}  // namespace

template <>
const AvgPool2dKernels<float>& table() {
  return kTable<float>;
}
template <>
const AvgPool2dKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
