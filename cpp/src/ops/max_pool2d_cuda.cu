// Max pooling on CUDA. Backward, a thread looks through the windows that cover its input: no atomics, one order.
#include "ops/max_pool2d.h"

#include <limits>

#include "cuda/pool_axis.h"

namespace cnnx::cuda {
namespace {

/// As on the CPU: the first of equal values wins, NaN over everything; a window that misses the image gives -inf.
template <class T, class Switch>
void forward_typed(const PoolGeometry& geometry, const T* x, T* y, Switch* switches) {
  const SmallPool g(geometry);
  const int64_t input = geometry.input_plane();
  for_each(geometry.planes * geometry.output_plane(), [=] __device__(int64_t i) {
    const PlanePlace at = place_of(i, g.out_plane, g.out_columns);
    const T* plane = x + at.plane * input;
    const int top = g.h.begin(at.row), left = g.w.begin(at.column), first = g.w.first_tap(at.column),
              last = g.w.last_tap(at.column);
    T best = -std::numeric_limits<T>::infinity();
    int tap = g.h.first_tap(at.row) * g.w.taps_most + first;
    for (int r = g.h.first_tap(at.row); r < g.h.last_tap(at.row); ++r) {
      const T* row = plane + int64_t{top + r * g.h.dilation} * g.w.input;
      for (int s = first; s < last; ++s) {
        const T value = row[left + s * g.w.dilation];
        if (value > best || value != value) {
          best = value;
          tap = r * g.w.taps_most + s;
        }
      }
    }
    y[i] = best;
    if (switches) switches[i] = static_cast<Switch>(tap);
  });
}

template <class T, class Switch>
void backward_typed(const PoolGeometry& geometry, const T* gy, const Switch* switches, T* gx) {
  const SmallPool g(geometry);
  for_each(geometry.planes * geometry.input_plane(), [=] __device__(int64_t i) {
    T sum = 0;
    for_each_window(g, place_of(i, g.in_plane, g.in_columns), [&](int64_t window, int, int, int r, int s) {
      if (static_cast<int>(switches[window]) == r * g.w.taps_most + s) sum += gy[window];
    });
    gx[i] = sum;
  });
}

template <class T>
void forward(const PoolGeometry& g, const T* x, T* y, void* switches, void*) {
  if (has_byte_switches(g)) {
    forward_typed(g, x, y, static_cast<uint8_t*>(switches));
  } else {
    forward_typed(g, x, y, static_cast<int32_t*>(switches));
  }
}

template <class T>
void backward(const PoolGeometry& g, const T* gy, const void* switches, T* gx) {
  if (has_byte_switches(g)) {
    backward_typed(g, gy, static_cast<const uint8_t*>(switches), gx);
  } else {
    backward_typed(g, gy, static_cast<const int32_t*>(switches), gx);
  }
}

template <class T>
constexpr MaxPool2dKernels<T> kTable{[](const PoolGeometry&) { return int64_t{0}; }, forward<T>, backward<T>};

}  // namespace

template <>
const MaxPool2dKernels<float>& table() {
  return kTable<float>;
}
template <>
const MaxPool2dKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::cuda
