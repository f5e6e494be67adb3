// Resampling on CUDA: a thread makes one output; backward, one input out of the outputs that took from it.
#include "ops/resample.h"

#include "cuda/launch.h"

namespace cnnx::cuda {
namespace {

/// A table of the host's in device memory.
template <class V>
class Uploaded {
 public:
  Uploaded(const V* host, int64_t count) : memory_(host ? count * static_cast<int64_t>(sizeof(V)) : 0) {
    if (host && count > 0) memory_.upload(host, count * static_cast<int64_t>(sizeof(V)));
  }
  const V* data() const { return memory_.template as<V>(); }

 private:
  Scratch memory_;
};

/// One axis whose tables the kernels can read.
template <class T>
class DeviceAxis {
 public:
  explicit DeviceAxis(const ResampleAxis<T>& a)
      : host_(a),
        first_(a.first, a.output),
        weight_(a.weight, a.output),
        offsets_(a.offsets, a.input + 1),
        outputs_(a.outputs, a.offsets[a.input]),
        share_(a.share, a.offsets[a.input]) {}

  ResampleAxis<T> view() const {
    return {host_.input, host_.output, first_.data(), weight_.data(), offsets_.data(), outputs_.data(), share_.data()};
  }

 private:
  const ResampleAxis<T>& host_;
  Uploaded<int64_t> first_;
  Uploaded<T> weight_;
  Uploaded<int64_t> offsets_, outputs_;
  Uploaded<T> share_;
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
  const DeviceAxis<T> rows(g.h), columns(g.w);
  const ResampleAxis<T> h = rows.view(), w = columns.view();
  for_each(g.planes * h.output * w.output, [=] __device__(int64_t i) {
    const int64_t row = i / w.output, ow = i - row * w.output, plane = row / h.output, oh = row - plane * h.output;
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
  const DeviceAxis<T> rows(g.h), columns(g.w);
  const ResampleAxis<T> h = rows.view(), w = columns.view();
  for_each(g.planes * h.input * w.input, [=] __device__(int64_t i) {
    const int64_t row = i / w.input, iw = i - row * w.input, plane = row / h.input, ih = row - plane * h.input;
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
