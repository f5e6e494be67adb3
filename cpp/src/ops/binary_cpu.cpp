// Element-wise operations on two tensors: rows of the innermost axis, each operand advancing by 1 or standing still.
#include "ops/binary.h"

#include <cmath>

#include "kernels.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

template <class T, class R, class F>
void apply_row(int64_t n, const T* a, int64_t step_a, const T* b, int64_t step_b, R* y, F f) {
  if (step_a == 1 && step_b == 1) {
    for (int64_t i = 0; i < n; ++i) y[i] = f(a[i], b[i]);
  } else if (step_a == 1 && step_b == 0) {
    const T value = *b;
    for (int64_t i = 0; i < n; ++i) y[i] = f(a[i], value);
  } else if (step_a == 0 && step_b == 1) {
    const T value = *a;
    for (int64_t i = 0; i < n; ++i) y[i] = f(value, b[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) y[i] = f(a[i * step_a], b[i * step_b]);
  }
}

template <class T, class R, class F>
void for_each(const Broadcast& g, const T* a, const T* b, R* y, F f) {
  const int inner = g.rank - 1;
  const auto last = static_cast<size_t>(inner);
  const int64_t n = g.sizes[last], step_a = g.stride_a[last], step_b = g.stride_b[last];
  if (inner == 0) {
    parallel_for(n, kElementGrain, [&](int64_t begin, int64_t end) {
      apply_row(end - begin, a + begin * step_a, step_a, b + begin * step_b, step_b, y + begin, f);
    });
    return;
  }
  parallel_for(g.numel / n, item_grain(n), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t rest = row, at_a = 0, at_b = 0;
      for (int axis = inner - 1; axis >= 0; --axis) {
        const auto k = static_cast<size_t>(axis);
        at_a += rest % g.sizes[k] * g.stride_a[k];
        at_b += rest % g.sizes[k] * g.stride_b[k];
        rest /= g.sizes[k];
      }
      apply_row(n, a + at_a, step_a, b + at_b, step_b, y + row * n, f);
    }
  });
}

template <class T>
T power(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    T result = 1;
    for (; b > 0; b >>= 1, a = static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(a))) {
      if (b & 1) result = static_cast<T>(static_cast<uint64_t>(result) * static_cast<uint64_t>(a));
    }
    return result;
  } else {
    return b == T(2) ? a * a : std::pow(a, b);
  }
}

/// Wraps on overflow for integers, as NumPy does; the detour through unsigned avoids undefined behaviour.
template <class T, class F>
T wrap(T a, T b, F f) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(f(static_cast<uint64_t>(a), static_cast<uint64_t>(b)));
  } else {
    return f(a, b);
  }
}

template <class T>
void apply(BinaryOp op, const Broadcast& g, const T* a, const T* b, T* y) {
  switch (op) {
    case BinaryOp::kAdd:
      return for_each(g, a, b, y, [](T u, T v) { return wrap(u, v, [](auto p, auto q) { return p + q; }); });
    case BinaryOp::kSub:
      return for_each(g, a, b, y, [](T u, T v) { return wrap(u, v, [](auto p, auto q) { return p - q; }); });
    case BinaryOp::kMul:
      return for_each(g, a, b, y, [](T u, T v) { return wrap(u, v, [](auto p, auto q) { return p * q; }); });
    case BinaryOp::kDiv:
      if constexpr (!std::is_integral_v<T>) for_each(g, a, b, y, [](T u, T v) { return u / v; });
      return;
    case BinaryOp::kPow: return for_each(g, a, b, y, [](T u, T v) { return power(u, v); });
    case BinaryOp::kAddRelu: return for_each(g, a, b, y, [](T u, T v) { return u + v <= T(0) ? T(0) : u + v; });
  }
}

template <class T>
void compare(Comparison comparison, const Broadcast& g, const T* a, const T* b, bool* y) {
  switch (comparison) {
    case Comparison::kEq: return for_each(g, a, b, y, [](T u, T v) { return u == v; });
    case Comparison::kNe: return for_each(g, a, b, y, [](T u, T v) { return u != v; });
    case Comparison::kLt: return for_each(g, a, b, y, [](T u, T v) { return u < v; });
    case Comparison::kLe: return for_each(g, a, b, y, [](T u, T v) { return u <= v; });
    case Comparison::kGt: return for_each(g, a, b, y, [](T u, T v) { return u > v; });
    case Comparison::kGe: return for_each(g, a, b, y, [](T u, T v) { return u >= v; });
  }
}

template <class T>
constexpr BinaryKernels<T> kTable{apply<T>, compare<T>};

}  // namespace

template <>
const BinaryKernels<float>& table() {
  return kTable<float>;
}
template <>
const BinaryKernels<double>& table() {
  return kTable<double>;
}
template <>
const BinaryKernels<int64_t>& table() {
  return kTable<int64_t>;
}

}  // namespace cnnx::CNNX_ISA
