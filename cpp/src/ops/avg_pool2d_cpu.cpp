// Average pooling on the CPU: window by window, along the rows of each window.
#include "ops/avg_pool2d.h"

#include <algorithm>

#include "kernels.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

/// Calls fn(plane, output index, first input row, last, first column, last, 1 / count) for every window.
template <class F>
void for_each_window(const PoolGeometry& g, bool count_include_pad, int64_t first_plane, int64_t last_plane, F fn) {
  for (int64_t plane = first_plane; plane < last_plane; ++plane) {
    int64_t at = plane * g.output_plane();
    for (int64_t oh = 0; oh < g.h.output(); ++oh) {
      const InsideTaps rows = inside_taps(g.h, oh);
      const int64_t top = g.h.begin(oh);
      for (int64_t ow = 0; ow < g.w.output(); ++ow, ++at) {
        const InsideTaps columns = inside_taps(g.w, ow);
        const int64_t left = g.w.begin(ow);
        const int64_t count = count_include_pad ? g.h.padded_taps(oh) * g.w.padded_taps(ow)
                                                : (rows.last - rows.first) * (columns.last - columns.first);
        fn(plane, at, top + rows.first, top + rows.last, left + columns.first, left + columns.last, count);
      }
    }
  }
}

template <class T>
void forward(const PoolGeometry& g, bool count_include_pad, const T* x, T* y) {
  parallel_for(g.planes, item_grain(g.input_plane() + g.output_plane()), [&](int64_t first, int64_t last) {
    for_each_window(
        g, count_include_pad, first, last,
        [&](int64_t plane, int64_t at, int64_t top, int64_t bottom, int64_t left, int64_t right, int64_t count) {
          T sum = 0;
          for (int64_t ih = top; ih < bottom; ++ih) {
            const T* row = x + plane * g.input_plane() + ih * g.w.input();
#pragma omp simd reduction(+ : sum)
            for (int64_t iw = left; iw < right; ++iw) sum += row[iw];
          }
          y[at] = sum / static_cast<T>(count);
        });
  });
}

template <class T>
void backward(const PoolGeometry& g, bool count_include_pad, const T* gy, T* gx) {
  parallel_for(g.planes, item_grain(g.input_plane() + g.output_plane()), [&](int64_t first, int64_t last) {
    std::fill(gx + first * g.input_plane(), gx + last * g.input_plane(), T(0));
    for_each_window(
        g, count_include_pad, first, last,
        [&](int64_t plane, int64_t at, int64_t top, int64_t bottom, int64_t left, int64_t right, int64_t count) {
          const T share = gy[at] / static_cast<T>(count);
          for (int64_t ih = top; ih < bottom; ++ih) {
            T* row = gx + plane * g.input_plane() + ih * g.w.input();
            for (int64_t iw = left; iw < right; ++iw) row[iw] += share;
          }
        });
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
