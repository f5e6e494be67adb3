// Cross-entropy on CUDA, by the same formula as on the CPU; a warp takes an item, or a thread where classes lie apart.
#include "ops/cross_entropy.h"

#include <cmath>

#include "cuda/reduce.h"

namespace cnnx::cuda {
namespace {

/// The geometry as the kernels take it, with what is the same for all items.
template <class T>
struct Terms {
  Terms(const CrossEntropyGeometry& g, const T* weights)
      : count(g.count()),
        classes(g.classes),
        inner(g.inner),
        by_inner(std::max<int64_t>(1, g.inner)),
        by_item(std::max<int64_t>(1, g.classes * g.inner)),
        ignored(g.ignore_index),
        smoothing(static_cast<T>(g.smoothing)),
        each(static_cast<T>(g.smoothing / static_cast<double>(g.classes))),
        w(weights) {}

  int64_t count, classes, inner;
  WideDivisor by_inner, by_item;
  int64_t ignored;
  T smoothing, each;
  const T* w;  // null: ones

  __device__ T weight(int64_t c) const { return w ? w[c] : T(1); }
  __device__ int64_t start(int64_t item) const {
    const int64_t outer = by_inner.divide(item);
    return outer * by_item.value + (item - outer * inner);
  }
};

template <class T, int kLanes>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(Terms<T> t, const T* x, const int64_t* targets, T* losses, T* lse) {
  for_each_slice<kLanes>(t.count, [&](int64_t i, int lane, bool) {
    const T* item = x + t.start(i);
    T largest = item[0];
    for (int64_t c = lane; c < t.classes; c += kLanes) largest = Larger()(largest, item[c * t.inner]);
    largest = reduce_lanes<kLanes>(largest, Larger());
    T sum = 0;
    for (int64_t c = lane; c < t.classes; c += kLanes) sum += std::exp(item[c * t.inner] - largest);
    const T log_sum = largest + std::log(reduce_lanes<kLanes>(sum, Plus()));
    T smooth = 0;
    if (t.smoothing != T(0)) {
      for (int64_t c = lane; c < t.classes; c += kLanes) smooth += t.weight(c) * (log_sum - item[c * t.inner]);
      smooth = reduce_lanes<kLanes>(smooth, Plus());
    }
    if (lane != 0) return;
    const int64_t target = targets[i];
    lse[i] = log_sum;
    losses[i] = target == t.ignored
                    ? T(0)
                    : (T(1) - t.smoothing) * t.weight(target) * (log_sum - item[target * t.inner]) + t.each * smooth;
  });
}

/// Of one class: all * softmax - what the target and smoothing ask for, with `all` those together. *total is the sum of
/// the class weights; null of ones.
template <class T>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(Terms<T> t, const T* total, const T* x, const int64_t* targets, const T* lse, ItemGradient<T> gy,
                    T* gx) {
  const int64_t step = int64_t{gridDim.x} * kThreads, values = t.count * t.classes;
  for (int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x; at < values; at += step) {
    const int64_t outer = t.by_item.divide(at), rest = at - outer * t.by_item.value;
    const int64_t c = t.by_inner.divide(rest), i = outer * t.inner + (rest - c * t.inner), target = targets[i];
    if (target == t.ignored) {
      gx[at] = T(0);
      continue;
    }
    const T scale = gy(i), on_target = scale * (T(1) - t.smoothing) * t.weight(target);
    const T smooth = scale * t.each;
    const T all = on_target + smooth * (total ? *total : static_cast<T>(t.classes));
    gx[at] = all * std::exp(x[at] - lse[i]) - (c == target ? on_target : T(0)) - smooth * t.weight(c);
  }
}

template <class T>
void forward(const CrossEntropyGeometry& g, const T* x, const int64_t* targets, const T* w, T* losses, T* lse) {
  if (g.count() == 0) return;
  const Terms<T> terms(g, w);
  if (g.inner == 1) {
    launch(forward_kernel<T, 32>, blocks_for(g.count() * 32), dim3(kThreads), 0, terms, x, targets, losses, lse);
  } else {
    launch(forward_kernel<T, 1>, blocks_for(g.count()), dim3(kThreads), 0, terms, x, targets, losses, lse);
  }
}

template <class T>
void add_up(int64_t n, const T* x, T* y) {
  reduce_all(n, [=] __device__(int64_t i) { return x[i]; }, Plus(), T(0), [=] __device__(T sum) { *y = sum; });
}

template <class T>
void backward(const CrossEntropyGeometry& g, const T* x, const int64_t* targets, const T* w, const T* lse,
              ItemGradient<T> gy, T* gx) {
  const bool weighs_all = w && g.smoothing != 0;  // only smoothing wants the sum of the weights
  const Scratch total(weighs_all ? sizeof(T) : 0);
  if (weighs_all) add_up(g.classes, w, total.as<T>());
  launch(backward_kernel<T>, blocks_for(g.count() * g.classes), dim3(kThreads), 0, Terms<T>(g, w), total.as<const T>(),
         x, targets, lse, gy, gx);
}

template <class T>
constexpr CrossEntropyKernels<T> kTable{forward<T>, backward<T>};

}  // namespace

template <>
const CrossEntropyKernels<float>& table() {
  return kTable<float>;
}
template <>
const CrossEntropyKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::cuda
