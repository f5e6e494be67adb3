// The locally connected layer on CUDA. No weight is used at two positions, so there is no product to tile: a thread
// makes one output, input or weight.
#include "cuda/launch.h"
#include "ops/locally_connected2d.h"

namespace cnnx::cuda {
namespace {

int64_t workspace_bytes(const Conv2dGeometry&, ConvPass) { return 0; }

/// The geometry with the strides of w (OH, OW, K, C, R, S).
struct Layer {
  explicit Layer(const Conv2dGeometry& g)
      : h(g.h),
        w(g.w),
        batch(g.batch),
        channels(g.in_channels),
        filters(g.out_channels),
        input(std::max<int64_t>(1, g.input_plane())),
        output(std::max<int64_t>(1, g.output_plane())),
        filter(g.filter_size()) {}

  WindowAxis h, w;
  int64_t batch, channels, filters, input, output, filter;

  __device__ int64_t weight(int64_t position, int64_t k, int64_t c, int64_t r, int64_t s) const {
    return (position * filters + k) * filter + (c * h.kernel + r) * w.kernel + s;
  }
};

template <class T>
void forward(const Conv2dGeometry& g, const T* x, const T* w, const T* b, T* y, void*) {
  const Layer l(g);
  for_each(g.batch * g.out_channels * g.output_plane(), [=] __device__(int64_t i) {
    const int64_t plane = i / l.output, position = i - plane * l.output, n = plane / l.filters,
                  k = plane - n * l.filters;
    const int64_t oh = position / l.w.output, ow = position - oh * l.w.output;
    T sum = b ? b[k * l.output + position] : T(0);
    for (int64_t c = 0; c < l.channels; ++c) {
      for (int64_t r = 0; r < l.h.kernel; ++r) {
        const int64_t ih = l.h.start(oh) + r * l.h.dilation;
        if (ih < 0 || ih >= l.h.input) continue;
        for (int64_t s = 0; s < l.w.kernel; ++s) {
          const int64_t iw = l.w.start(ow) + s * l.w.dilation;
          if (iw < 0 || iw >= l.w.input) continue;
          sum += x[(n * l.channels + c) * l.input + ih * l.w.input + iw] * w[l.weight(position, k, c, r, s)];
        }
      }
    }
    y[i] = sum;
  });
}

template <class T>
void backward_input(const Conv2dGeometry& g, const T* gy, const T* w, T* gx, void*) {
  const Layer l(g);
  for_each(g.batch * g.in_channels * g.input_plane(), [=] __device__(int64_t i) {
    const int64_t plane = i / l.input, pixel = i - plane * l.input, n = plane / l.channels, c = plane - n * l.channels;
    const int64_t ih = pixel / l.w.input, iw = pixel - ih * l.w.input;
    T sum = 0;
    for (int64_t r = 0; r < l.h.kernel; ++r) {
      const int64_t oh = l.h.output_at(ih, r);
      if (oh < 0) continue;
      for (int64_t s = 0; s < l.w.kernel; ++s) {
        const int64_t ow = l.w.output_at(iw, s), position = oh * l.w.output + ow;
        if (ow < 0) continue;
        for (int64_t k = 0; k < l.filters; ++k) {
          sum += gy[(n * l.filters + k) * l.output + position] * w[l.weight(position, k, c, r, s)];
        }
      }
    }
    gx[i] = sum;
  });
}

template <class T>
void backward_weight(const Conv2dGeometry& g, const T* x, const T* gy, T* gw, void*) {
  const Layer l(g);
  for_each(g.output_plane() * g.out_channels * g.filter_size(), [=] __device__(int64_t i) {
    const int64_t filter = i / l.filter, inside = i - filter * l.filter, position = filter / l.filters,
                  k = filter - position * l.filters;
    const int64_t row = inside / l.w.kernel, s = inside - row * l.w.kernel, c = row / l.h.kernel,
                  r = row - c * l.h.kernel;
    const int64_t oh = position / l.w.output, ow = position - oh * l.w.output;
    const int64_t ih = l.h.start(oh) + r * l.h.dilation, iw = l.w.start(ow) + s * l.w.dilation;
    T sum = 0;
    if (ih >= 0 && ih < l.h.input && iw >= 0 && iw < l.w.input) {
      for (int64_t n = 0; n < l.batch; ++n) {
        sum += gy[(n * l.filters + k) * l.output + position] * x[(n * l.channels + c) * l.input + ih * l.w.input + iw];
      }
    }
    gw[i] = sum;
  });
}

template <class T>
constexpr LocallyConnectedKernels<T> kTable{workspace_bytes, forward<T>, backward_input<T>, backward_weight<T>};

}  // namespace

template <>
const LocallyConnectedKernels<float>& table() {
  return kTable<float>;
}
template <>
const LocallyConnectedKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::cuda
