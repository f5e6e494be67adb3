// The multiclass hinge losses on the CPU.
#include "ops/multi_margin_loss.h"

#include <algorithm>

#include "kernels.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

/// By how much class c violates the margin.
template <class T>
T violation(const MultiMarginGeometry& g, const T* item, int64_t target, int64_t c) {
  return c == target ? T(0) : std::max(T(0), static_cast<T>(g.margin) - item[target] + item[c]);
}

template <class T>
void forward(const MultiMarginGeometry& g, const T* x, const int64_t* targets, const T* w, T* losses) {
  parallel_for(g.items, item_grain(g.classes), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T* item = x + i * g.classes;
      T sum = 0;
      for (int64_t c = 0; c < g.classes; ++c) {
        const T v = violation(g, item, targets[i], c);
        sum += g.squared ? v * v : v;
      }
      losses[i] = static_cast<T>(g.scale) * (w ? w[targets[i]] : T(1)) * sum;
    }
  });
}

template <class T>
void backward(const MultiMarginGeometry& g, const T* x, const int64_t* targets, const T* w, ItemGradient<T> gy, T* gx) {
  parallel_for(g.items, item_grain(g.classes), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T* item = x + i * g.classes;
      const T scale = gy(i) * static_cast<T>(g.scale) * (w ? w[targets[i]] : T(1));
      T total = 0;
      for (int64_t c = 0; c < g.classes; ++c) {
        const T v = violation(g, item, targets[i], c);
        const T slope = v > T(0) ? scale * (g.squared ? 2 * v : T(1)) : T(0);
        gx[i * g.classes + c] = slope;
        total += slope;
      }
      gx[i * g.classes + targets[i]] = -total;
    }
  });
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

}  // namespace cnnx::CNNX_ISA
