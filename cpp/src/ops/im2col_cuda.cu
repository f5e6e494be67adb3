// im2col and col2im on CUDA: a thread makes one value of a column, or one pixel out of the columns that have it.
#include "ops/im2col.h"

#include "cuda/launch.h"

namespace cnnx::cuda {
namespace {

struct Taps {
  explicit Taps(const Conv2dGeometry& g)
      : h(g.h),
        w(g.w),
        input(g.input_plane()),
        input_row(g.w.input),
        output(g.output_plane()),
        output_row(g.w.output),
        filter(g.h.kernel * g.w.kernel),
        filter_row(g.w.kernel) {}
  WindowAxis h, w;
  WideDivisor input, input_row, output, output_row, filter, filter_row;  // planes, and their rows
};

template <class T>
void to_columns(const Conv2dGeometry& g, const T* x, T* col) {
  const Taps t(g);
  const int64_t values = g.batch * g.in_channels * g.h.kernel * g.w.kernel * g.output_plane();
  for_each(values, [=] __device__(int64_t i) {
    const int64_t row = t.output.divide(i), position = i - row * t.output.value, channel = t.filter.divide(row);
    const int64_t tap = row - channel * t.filter.value, r = t.filter_row.divide(tap), s = tap - r * t.w.kernel;
    const int64_t oh = t.output_row.divide(position), ow = position - oh * t.w.output;
    const int64_t ih = t.h.start(oh) + r * t.h.dilation, iw = t.w.start(ow) + s * t.w.dilation;
    const bool inside = ih >= 0 && ih < t.h.input && iw >= 0 && iw < t.w.input;
    col[i] = inside ? x[channel * t.input.value + ih * t.w.input + iw] : T(0);
  });
}

template <class T>
void to_images(const Conv2dGeometry& g, const T* col, T* x) {
  const Taps t(g);
  for_each(g.batch * g.in_channels * g.input_plane(), [=] __device__(int64_t i) {
    const int64_t channel = t.input.divide(i), pixel = i - channel * t.input.value, ih = t.input_row.divide(pixel),
                  iw = pixel - ih * t.w.input;
    T sum = 0;
    for (int64_t r = 0; r < t.h.kernel; ++r) {
      const int64_t oh = t.h.output_at(ih, r);
      if (oh < 0) continue;
      for (int64_t s = 0; s < t.w.kernel; ++s) {
        const int64_t ow = t.w.output_at(iw, s);
        if (ow < 0) continue;
        sum += col[((channel * t.h.kernel + r) * t.w.kernel + s) * t.output.value + oh * t.w.output + ow];
      }
    }
    x[i] = sum;
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

}  // namespace cnnx::cuda
