// Power-average pooling on CUDA.
#include "ops/lp_pool2d.h"

#include <cmath>

#include "cuda/pool_axis.h"

namespace cnnx::cuda {
namespace {

template <class T>
void forward(const PoolGeometry& geometry, T p, const T* x, T* y) {
  const SmallPool g(geometry);
  const int64_t input = geometry.input_plane();
  for_each(geometry.planes * geometry.output_plane(), [=] __device__(int64_t i) {
    const PlanePlace at = place_of(i, g.out_plane, g.out_columns);
    const int top = g.h.begin(at.row), left = g.w.begin(at.column);
    T sum = 0;
    for (int r = g.h.first_tap(at.row); r < g.h.last_tap(at.row); ++r) {
      const T* row = x + at.plane * input + int64_t{top + r} * g.w.input + left;
      for (int s = g.w.first_tap(at.column); s < g.w.last_tap(at.column); ++s) {
        sum += p == T(2) ? row[s] * row[s] : std::pow(std::abs(row[s]), p);
      }
    }
    y[i] = p == T(2) ? std::sqrt(sum) : std::pow(sum, T(1) / p);
  });
}

/// A window of zeros passes nothing on: no direction is better than another.
template <class T>
void backward(const PoolGeometry& geometry, T p, const T* x, const T* y, const T* gy, T* gx) {
  const SmallPool g(geometry);
  for_each(geometry.planes * geometry.input_plane(), [=] __device__(int64_t i) {
    T sum = 0;
    for_each_window(g, place_of(i, g.in_plane, g.in_columns), [&](int64_t window, int, int, int, int) {
      if (y[window] == T(0)) return;
      sum += gy[window] * (p == T(2) ? T(1) / y[window] : std::pow(y[window], T(1) - p));
    });
    const T value = x[i];
    const T slope = p == T(2) ? value : std::copysign(std::pow(std::abs(value), p - T(1)), value);
    gx[i] = value == T(0) ? T(0) : sum * slope;
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

}  // namespace cnnx::cuda
