// im2col and col2im on the CPU: a channel of an image at a time, im2col by blocks of output positions too.
#include "ops/im2col.h"

#include "kernels.h"
#include "ops/conv2d/im2col.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

template <class T>
void to_columns(const Conv2dGeometry& g, const T* x, T* col) {
  const int64_t taps = g.h.kernel * g.w.kernel, plane = g.output_plane();
  const int64_t block = std::max(g.w.output, item_grain(taps) / 16 * 16), blocks = ceil_div(plane, block);
  parallel_for(g.batch * g.in_channels * blocks, item_grain(std::min(block, plane) * taps),
               [&](int64_t first, int64_t last) {
                 for (int64_t unit = first; unit < last; ++unit) {
                   const int64_t channel = unit / blocks, begin = unit % blocks * block;
                   im2col(g, 1, x + channel * g.input_plane(), begin, std::min(plane, begin + block),
                          col + channel * taps * plane + begin, plane);
                 }
               });
}

template <class T>
void to_images(const Conv2dGeometry& g, const T* col, T* x) {
  const int64_t taps = g.h.kernel * g.w.kernel, plane = g.output_plane();
  parallel_for(g.batch * g.in_channels, item_grain(plane * taps), [&](int64_t first, int64_t last) {
    std::fill(x + first * g.input_plane(), x + last * g.input_plane(), T(0));
    for (int64_t channel = first; channel < last; ++channel) {
      col2im(g, 1, col + channel * taps * plane, plane, 0, plane, x + channel * g.input_plane());
    }
  });
}

template <class T>
constexpr Im2colKernels<T> kTable{to_columns<T>, to_images<T>};

}  // namespace

template <>
const Im2colKernels<float>& table() {
  return kTable<float>;
}
template <>
const Im2colKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
