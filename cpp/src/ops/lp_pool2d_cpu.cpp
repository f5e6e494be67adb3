// Power-average pooling on the CPU, window by window.
#include "ops/lp_pool2d.h"

#include <algorithm>
#include <cmath>

#include "kernels.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

/// Calls fn(input index) for every position of one window.
template <class F>
void for_each_position(const PoolGeometry& g, int64_t plane, int64_t oh, int64_t ow, F fn) {
  const InsideTaps rows = inside_taps(g.h, oh), columns = inside_taps(g.w, ow);
  for (int64_t r = rows.first; r < rows.last; ++r) {
    const int64_t row = plane * g.input_plane() + (g.h.begin(oh) + r) * g.w.input() + g.w.begin(ow);
    for (int64_t s = columns.first; s < columns.last; ++s) fn(row + s);
  }
}

/// Calls fn(output index, plane, oh, ow) for every window, in parallel over planes.
template <class Prepare, class F>
void for_each_window(const PoolGeometry& g, Prepare prepare, F fn) {
  parallel_for(g.planes, item_grain(g.input_plane() * 8), [&](int64_t first, int64_t last) {
    prepare(first, last);
    for (int64_t plane = first; plane < last; ++plane) {
      int64_t at = plane * g.output_plane();
      for (int64_t oh = 0; oh < g.h.output(); ++oh) {
        for (int64_t ow = 0; ow < g.w.output(); ++ow, ++at) fn(at, plane, oh, ow);
      }
    }
  });
}

template <class T>
void forward(const PoolGeometry& g, T p, const T* x, T* y) {
  for_each_window(
      g, [](int64_t, int64_t) {},
      [=, &g](int64_t at, int64_t plane, int64_t oh, int64_t ow) {
        T sum = 0;
        if (p == T(2)) {
          for_each_position(g, plane, oh, ow, [&](int64_t i) { sum += x[i] * x[i]; });
          y[at] = std::sqrt(sum);
        } else {
          for_each_position(g, plane, oh, ow, [&](int64_t i) { sum += std::pow(std::abs(x[i]), p); });
          y[at] = std::pow(sum, T(1) / p);
        }
      });
}

template <class T>
void backward(const PoolGeometry& g, T p, const T* x, const T* y, const T* gy, T* gx) {
  for_each_window(
      g,
      [&](int64_t first, int64_t last) { std::fill(gx + first * g.input_plane(), gx + last * g.input_plane(), T(0)); },
      [=, &g](int64_t at, int64_t plane, int64_t oh, int64_t ow) {
        if (y[at] == T(0)) return;  // all zeros: no direction is better than another
        const T scale = gy[at] * (p == T(2) ? T(1) / y[at] : std::pow(y[at], T(1) - p));
        for_each_position(g, plane, oh, ow, [&](int64_t i) {
          if (x[i] == T(0)) return;
          gx[i] += scale * (p == T(2) ? x[i] : std::copysign(std::pow(std::abs(x[i]), p - T(1)), x[i]));
        });
      });
}

template <class T>
constexpr LPPool2dKernels<T> kTable{forward<T>, backward<T>};

}  // namespace

template <>
const LPPool2dKernels<float>& table() {
  return kTable<float>;
}
template <>
const LPPool2dKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
