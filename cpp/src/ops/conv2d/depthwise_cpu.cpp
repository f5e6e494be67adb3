// Depthwise convolution (one input channel a group), directly: each output row is a sum of shifted, scaled input rows.
#include "kernels.h"
#include "ops/conv2d/bias.h"
#include "ops/conv2d/im2col.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

bool accepts(const Conv2dGeometry& g) { return g.group_in() == 1; }

int64_t workspace_bytes(const Conv2dGeometry&, ConvPass) { return 0; }

/// Calls fn(output row, input row, first ow, last ow, weight index, column shift) for every pair of rows that meet.
template <class F>
void for_each_tap_row(const Conv2dGeometry& g, F fn) {
  for (int64_t r = 0; r < g.h.kernel; ++r) {
    const InsideRange rows = inside_range(g.h, r * g.h.dilation);
    for (int64_t s = 0; s < g.w.kernel; ++s) {
      const InsideRange inside = inside_range(g.w, s * g.w.dilation);
      const int64_t shift = s * g.w.dilation - g.w.pad_before;
      for (int64_t oh = rows.first; oh < rows.last; ++oh) {
        fn(oh, g.h.start(oh) + r * g.h.dilation, inside.first, inside.last, r * g.w.kernel + s, shift);
      }
    }
  }
}

template <class T>
void forward(const Conv2dGeometry& g, const T* x, const T* w, const T* b, T* y, void*) {
  const int64_t taps = g.h.kernel * g.w.kernel, plane = g.output_plane(), multiplier = g.group_out(),
                stride = g.w.stride;
  parallel_for(g.batch * g.out_channels, item_grain(plane * taps), [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t k = unit % g.out_channels, n = unit / g.out_channels;
      const T* image = x + (n * g.in_channels + k / multiplier) * g.input_plane();
      T* out = y + unit * plane;
      std::fill(out, out + plane, b ? b[k] : T(0));
      for_each_tap_row(g, [&](int64_t oh, int64_t ih, int64_t first, int64_t last, int64_t tap, int64_t shift) {
        const T value = w[k * taps + tap];
        const T* in = image + ih * g.w.input + shift;
        T* row = out + oh * g.w.output;
        if (stride == 1) {
          for (int64_t ow = first; ow < last; ++ow) row[ow] += value * in[ow];
        } else {
          for (int64_t ow = first; ow < last; ++ow) row[ow] += value * in[ow * stride];
        }
      });
    }
  });
}

template <class T>
void backward_input(const Conv2dGeometry& g, const T* gy, const T* w, T* gx, void*) {
  const int64_t taps = g.h.kernel * g.w.kernel, plane = g.output_plane(), multiplier = g.group_out(),
                stride = g.w.stride;
  parallel_for(g.batch * g.in_channels, item_grain(plane * taps * multiplier), [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t c = unit % g.in_channels, n = unit / g.in_channels;
      T* image = gx + unit * g.input_plane();
      std::fill(image, image + g.input_plane(), T(0));
      for (int64_t k = c * multiplier; k < (c + 1) * multiplier; ++k) {
        const T* out = gy + (n * g.out_channels + k) * plane;
        for_each_tap_row(g, [&](int64_t oh, int64_t ih, int64_t first, int64_t last, int64_t tap, int64_t shift) {
          const T value = w[k * taps + tap];
          T* in = image + ih * g.w.input + shift;
          const T* row = out + oh * g.w.output;
          if (stride == 1) {
            for (int64_t ow = first; ow < last; ++ow) in[ow] += value * row[ow];
          } else {
            for (int64_t ow = first; ow < last; ++ow) in[ow * stride] += value * row[ow];
          }
        });
      }
    }
  });
}

template <class T>
void backward_weight(const Conv2dGeometry& g, const T* x, const T* gy, T* gw, void*) {
  const int64_t taps = g.h.kernel * g.w.kernel, plane = g.output_plane(), multiplier = g.group_out(),
                stride = g.w.stride;
  parallel_for(g.out_channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      std::fill(gw + k * taps, gw + (k + 1) * taps, T(0));
      for (int64_t n = 0; n < g.batch; ++n) {
        const T* image = x + (n * g.in_channels + k / multiplier) * g.input_plane();
        const T* out = gy + (n * g.out_channels + k) * plane;
        for_each_tap_row(g, [&](int64_t oh, int64_t ih, int64_t first, int64_t last, int64_t tap, int64_t shift) {
          const T* in = image + ih * g.w.input + shift;
          const T* row = out + oh * g.w.output;
          T sum = 0;
          if (stride == 1) {
#pragma omp simd reduction(+ : sum)
            for (int64_t ow = first; ow < last; ++ow) sum += in[ow] * row[ow];
          } else {
#pragma omp simd reduction(+ : sum)
            for (int64_t ow = first; ow < last; ++ow) sum += in[ow * stride] * row[ow];
          }
          gw[k * taps + tap] += sum;
        });
      }
    }
  });
}

template <class T>
constexpr DepthwiseConv2d<T> kTable{{"depthwise", accepts, workspace_bytes, forward<T>, backward_input<T>,
                                     backward_weight<T>, conv2d_bias_gradient<T>}};

}  // namespace

template <>
const DepthwiseConv2d<float>& table() {
  return kTable<float>;
}
template <>
const DepthwiseConv2d<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
