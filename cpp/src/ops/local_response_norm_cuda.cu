// Local response normalization on CUDA, by the formulas of the CPU's kernels. Backward, a first pass keeps what each
// channel sends to its window, a second adds it up.
#include "ops/local_response_norm.h"

#include <cmath>

#include "cuda/launch.h"

namespace cnnx::cuda {
namespace {

template <class T>
struct Window {
  explicit Window(const LrnGeometry& g)
      : plane(std::max<int64_t>(1, g.plane)),
        channels(g.channels),
        per_plane(plane),
        per_image(channels),
        before(g.size / 2),
        behind((g.size - 1) / 2),
        factor(static_cast<T>(g.alpha / static_cast<double>(g.size))),
        k(static_cast<T>(g.k)),
        beta(static_cast<T>(g.beta)) {}

  int64_t plane, channels;
  WideDivisor per_plane, per_image;  // values and planes
  int64_t before, behind;
  T factor, k, beta;

  __device__ int64_t channel(int64_t i) const {
    const int64_t row = per_plane.divide(i);
    return row - per_image.divide(row) * channels;
  }
  /// Calls fn(value's place) for the channels [c - down, c + up] of place i, which is in channel c.
  template <class F>
  __device__ void for_each_channel(int64_t i, int64_t c, int64_t down, int64_t up, const F& fn) const {
    const int64_t first = c > down ? c - down : 0, last = c + up < channels ? c + up : channels - 1;
    for (int64_t other = first; other <= last; ++other) fn(i + (other - c) * plane);
  }
  __device__ T scale(const T* x, int64_t i) const {
    T sum = 0;
    for_each_channel(i, channel(i), before, behind, [&](int64_t at) { sum += x[at] * x[at]; });
    return k + factor * sum;
  }
  __device__ T power(T s) const {
    if (beta != T(0.75)) return std::pow(s, -beta);
    const T root = std::sqrt(s);
    return T(1) / (root * std::sqrt(root));
  }
};

int64_t values_of(const LrnGeometry& g) { return g.batch * g.channels * g.plane; }

template <class T>
int64_t workspace_bytes(const LrnGeometry& g) {
  return values_of(g) * static_cast<int64_t>(sizeof(T));
}

template <class T>
void forward(const LrnGeometry& g, const T* x, T* y, void*) {
  const Window<T> window(g);
  for_each(values_of(g), [=] __device__(int64_t i) { y[i] = x[i] * window.power(window.scale(x, i)); });
}

template <class T>
void backward(const LrnGeometry& g, const T* x, const T* gy, T* gx, void* workspace) {
  const Window<T> window(g);
  T* const sent = static_cast<T*>(workspace);
  for_each(values_of(g), [=] __device__(int64_t i) {
    const T s = window.scale(x, i), own = gy[i] * window.power(s);
    gx[i] = own;
    sent[i] = own * x[i] / s;
  });
  const T slope = static_cast<T>(2 * g.alpha * g.beta / static_cast<double>(g.size));
  for_each(values_of(g), [=] __device__(int64_t i) {
    T sum = 0;
    window.for_each_channel(i, window.channel(i), window.behind, window.before, [&](int64_t at) { sum += sent[at]; });
    gx[i] -= slope * x[i] * sum;
  });
}

template <class T>
constexpr LrnKernels<T> kTable{workspace_bytes<T>, forward<T>, backward<T>};

}  // namespace

template <>
const LrnKernels<float>& table() {
  return kTable<float>;
}
template <>
const LrnKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::cuda
