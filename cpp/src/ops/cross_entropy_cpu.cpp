// Cross-entropy on the CPU. With smoothing s, class weights w and W their sum, an item of target t has the loss
// (1 - s) w_t (lse - x_t) + s / C * sum over classes of w_c (lse - x_c).
#include "ops/cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "kernels.h"
#include "ops/vmath.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

template <class T>
T log_sum_exp(const T* x, int64_t classes, int64_t stride) {
  T largest = x[0], sum = 0;
  if (stride == 1) {
#pragma omp simd reduction(max : largest)
    for (int64_t c = 0; c < classes; ++c) largest = std::max(largest, x[c]);
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < classes; ++c) sum += vmath::exp(x[c] - largest);
  } else {
    for (int64_t c = 0; c < classes; ++c) largest = std::max(largest, x[c * stride]);
    for (int64_t c = 0; c < classes; ++c) sum += vmath::exp(x[c * stride] - largest);
  }
  return largest + std::log(sum);
}

template <class T>
T weight_sum(const CrossEntropyGeometry& g, const T* w) {
  if (!w) return static_cast<T>(g.classes);
  T sum = 0;
  for (int64_t c = 0; c < g.classes; ++c) sum += w[c];
  return sum;
}

template <class T>
void forward(const CrossEntropyGeometry& g, const T* x, const int64_t* targets, const T* w, T* losses, T* lse) {
  const T smoothing = static_cast<T>(g.smoothing), each = smoothing / static_cast<T>(g.classes),
          total = weight_sum(g, w);
  parallel_for(g.count(), item_grain(g.classes * 4), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T* item = x + i / g.inner * g.classes * g.inner + i % g.inner;
      const int64_t target = targets[i];
      lse[i] = log_sum_exp(item, g.classes, g.inner);
      losses[i] = 0;
      if (target == g.ignore_index) continue;
      losses[i] = (T(1) - smoothing) * (w ? w[target] : T(1)) * (lse[i] - item[target * g.inner]);
      if (smoothing == T(0)) continue;
      T weighted = 0;
      for (int64_t c = 0; c < g.classes; ++c) weighted += (w ? w[c] : T(1)) * item[c * g.inner];
      losses[i] += each * (total * lse[i] - weighted);
    }
  });
}

template <class T>
void backward(const CrossEntropyGeometry& g, const T* x, const int64_t* targets, const T* w, const T* lse,
              ItemGradient<T> gy, T* gx) {
  const T smoothing = static_cast<T>(g.smoothing), each = smoothing / static_cast<T>(g.classes),
          total = weight_sum(g, w);
  parallel_for(g.count(), item_grain(g.classes * 4), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = i / g.inner * g.classes * g.inner + i % g.inner, target = targets[i];
      if (target == g.ignore_index) {
        for (int64_t c = 0; c < g.classes; ++c) gx[at + c * g.inner] = 0;
        continue;
      }
      const T scale = gy(i), on_target = scale * (T(1) - smoothing) * (w ? w[target] : T(1));
      const T all = on_target + scale * each * total;  // of exp(x - lse)
      if (g.inner == 1) {
        for (int64_t c = 0; c < g.classes; ++c) gx[at + c] = all * vmath::exp(x[at + c] - lse[i]);
      } else {
        for (int64_t c = 0; c < g.classes; ++c) gx[at + c * g.inner] = all * vmath::exp(x[at + c * g.inner] - lse[i]);
      }
      gx[at + target * g.inner] -= on_target;
      if (smoothing == T(0)) continue;
      for (int64_t c = 0; c < g.classes; ++c) gx[at + c * g.inner] -= scale * each * (w ? w[c] : T(1));
    }
  });
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

}  // namespace cnnx::CNNX_ISA
