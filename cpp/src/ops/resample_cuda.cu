// Resampling on CUDA: a thread makes one output; backward, one input out of the outputs that took from it.
#include "ops/resample.h"

#include "cuda/launch.h"

namespace cnnx::cuda {
namespace {

/// One axis with the tables of the forward pass where kernels can read them.
template <class T>
struct ForwardAxis {
  explicit ForwardAxis(const ResampleAxis<T>& a) : first(a.first, a.output), weight(a.weight, a.output), axis(a) {
    axis.first = first.data();
    axis.weight = weight.data();
  }
  Uploaded<int64_t> first;
  Uploaded<T> weight;
  ResampleAxis<T> axis;
};

/// The same with those of the backward pass.
template <class T>
struct BackwardAxis {
  explicit BackwardAxis(const ResampleAxis<T>& a)
      : offsets(a.offsets, a.input + 1),
        outputs(a.outputs, a.offsets[a.input]),
        share(a.share, a.offsets[a.input]),
        axis(a) {
    axis.offsets = offsets.data();
    axis.outputs = outputs.data();
    axis.share = share.data();
  }
  Uploaded<int64_t> offsets, outputs;
  Uploaded<T> share;
  ResampleAxis<T> axis;
};

template <class T>
int64_t workspace_bytes(const ResampleGeometry<T>&) {
  return 0;
}

template <class T>
__device__ T blend_row(const ResampleAxis<T>& a, int64_t o, const T* row) {
  const T weight = a.weight[o];
  return (T(1) - weight) * row[a.first[o]] + weight * row[a.second(o)];
}

template <class T>
void forward(const ResampleGeometry<T>& g, const T* x, T* y, void*) {
  const ForwardAxis<T> rows(g.h), columns(g.w);
  const ResampleAxis<T> h = rows.axis, w = columns.axis;
  const WideDivisor height(h.output), width(w.output);
  for_each(g.planes * h.output * w.output, [=] __device__(int64_t i) {
    const int64_t row = width.divide(i), ow = i - row * w.output, plane = height.divide(row),
                  oh = row - plane * h.output;
    const T* const image = x + plane * h.input * w.input;
    if (!w.weight) {
      y[i] = image[h.first[oh] * w.input + w.first[ow]];
      return;
    }
    const T a = blend_row(w, ow, image + h.first[oh] * w.input), b = blend_row(w, ow, image + h.second(oh) * w.input);
    y[i] = (T(1) - h.weight[oh]) * a + h.weight[oh] * b;
  });
}

template <class T>
void backward(const ResampleGeometry<T>& g, const T* gy, T* gx, void*) {
  const BackwardAxis<T> rows(g.h), columns(g.w);
  const ResampleAxis<T> h = rows.axis, w = columns.axis;
  const WideDivisor height(h.input), width(w.input);
  for_each(g.planes * h.input * w.input, [=] __device__(int64_t i) {
    const int64_t row = width.divide(i), iw = i - row * w.input, plane = height.divide(row), ih = row - plane * h.input;
    T total = 0;
    for (int64_t k = h.offsets[ih]; k < h.offsets[ih + 1]; ++k) {
      const T* const from = gy + (plane * h.output + h.outputs[k]) * w.output;
      T sum = 0;
      for (int64_t l = w.offsets[iw]; l < w.offsets[iw + 1]; ++l) sum += w.share[l] * from[w.outputs[l]];
      total += h.share[k] * sum;
    }
    gx[i] = total;
  });
}

template <class T>
constexpr ResampleKernels<T> kTable{workspace_bytes<T>, forward<T>, backward<T>};

}  // namespace

template <>
const ResampleKernels<float>& table() {
  return kTable<float>;
}
template <>
const ResampleKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::cuda
