// Average pooling on CUDA: a thread makes one output; backward, one input out of the windows that cover it.
#include "ops/avg_pool2d.h"

#include "cuda/pool_axis.h"

namespace cnnx::cuda {
namespace {

__device__ int count_of(const SmallPool& g, bool count_include_pad, int oh, int ow) {
  return count_include_pad ? g.h.padded_taps(oh) * g.w.padded_taps(ow)
                           : (g.h.last_tap(oh) - g.h.first_tap(oh)) * (g.w.last_tap(ow) - g.w.first_tap(ow));
}

template <class T>
void forward(const PoolGeometry& geometry, bool count_include_pad, const T* x, T* y) {
  const SmallPool g(geometry);
  const int64_t input = geometry.input_plane();
  for_each(geometry.planes * geometry.output_plane(), [=] __device__(int64_t i) {
    const PlanePlace at = place_of(i, g.out_plane, g.out_columns);
    const int top = g.h.begin(at.row), left = g.w.begin(at.column);
    T sum = 0;
    for (int r = g.h.first_tap(at.row); r < g.h.last_tap(at.row); ++r) {
      const T* row = x + at.plane * input + int64_t{top + r} * g.w.input + left;
      for (int s = g.w.first_tap(at.column); s < g.w.last_tap(at.column); ++s) sum += row[s];
    }
    y[i] = sum / static_cast<T>(count_of(g, count_include_pad, at.row, at.column));
  });
}

template <class T>
void backward(const PoolGeometry& geometry, bool count_include_pad, const T* gy, T* gx) {
  const SmallPool g(geometry);
  for_each(geometry.planes * geometry.input_plane(), [=] __device__(int64_t i) {
    T sum = 0;
    for_each_window(g, place_of(i, g.in_plane, g.in_columns), [&](int64_t window, int oh, int ow, int, int) {
      sum += gy[window] / static_cast<T>(count_of(g, count_include_pad, oh, ow));
    });
    gx[i] = sum;
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

}  // namespace cnnx::cuda
