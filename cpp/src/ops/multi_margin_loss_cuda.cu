// The multiclass hinge losses on CUDA, a warp an item.
#include "ops/multi_margin_loss.h"

#include "cuda/reduce.h"

namespace cnnx::cuda {
namespace {

template <class T>
struct Terms {
  Terms(const MultiMarginGeometry& g, const T* weights)
      : items(g.items),
        classes(g.classes),
        squared(g.squared),
        margin(static_cast<T>(g.margin)),
        scale(static_cast<T>(g.scale)),
        w(weights) {}

  int64_t items, classes;
  bool squared;
  T margin, scale;
  const T* w;  // null: ones

  __device__ T factor(int64_t target) const { return scale * (w ? w[target] : T(1)); }
  /// By how much class c violates the margin.
  __device__ T violation(const T* item, int64_t target, int64_t c) const {
    const T v = margin - item[target] + item[c];
    return c == target || v <= T(0) ? T(0) : v;
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads) forward_kernel(Terms<T> t, const T* x, const int64_t* targets, T* losses) {
  for_each_slice<32>(t.items, [&](int64_t i, int lane, bool) {
    const T* item = x + i * t.classes;
    T sum = 0;
    for (int64_t c = lane; c < t.classes; c += 32) {
      const T v = t.violation(item, targets[i], c);
      sum += t.squared ? v * v : v;
    }
    sum = reduce_lanes<32>(sum, Plus());
    if (lane == 0) losses[i] = t.factor(targets[i]) * sum;
  });
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(Terms<T> t, const T* x, const int64_t* targets, ItemGradient<T> gy, T* gx) {
  for_each_slice<32>(t.items, [&](int64_t i, int lane, bool) {
    const T* const item = x + i * t.classes;
    T* const out = gx + i * t.classes;
    const int64_t target = targets[i];
    const T scale = gy(i) * t.factor(target);
    T total = 0;
    for (int64_t c = lane; c < t.classes; c += 32) {
      const T v = t.violation(item, target, c);
      const T slope = v > T(0) ? scale * (t.squared ? 2 * v : T(1)) : T(0);
      if (c != target) out[c] = slope;
      total += slope;
    }
    total = reduce_lanes<32>(total, Plus());
    if (lane == 0) out[target] = -total;
  });
}

template <class T>
void forward(const MultiMarginGeometry& g, const T* x, const int64_t* targets, const T* w, T* losses) {
  launch(forward_kernel<T>, blocks_for(g.items * 32), dim3(kThreads), 0, Terms<T>(g, w), x, targets, losses);
}

template <class T>
void backward(const MultiMarginGeometry& g, const T* x, const int64_t* targets, const T* w, ItemGradient<T> gy, T* gx) {
  launch(backward_kernel<T>, blocks_for(g.items * 32), dim3(kThreads), 0, Terms<T>(g, w), x, targets, gy, gx);
}

template <class T>
constexpr MultiMarginKernels<T> kTable{forward<T>, backward<T>};

}  // namespace

template <>
const MultiMarginKernels<float>& table() {
  return kTable<float>;
}
template <>
const MultiMarginKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::cuda
