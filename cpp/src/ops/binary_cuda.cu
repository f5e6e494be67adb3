// Element-wise operations on two tensors on CUDA, with broadcasting.
#include "ops/binary.h"

#include <cmath>
#include <type_traits>

#include "cuda/fours.h"

namespace cnnx::cuda {
namespace {

/// Where element i of the result finds its operands. D is Divisor where the numbers are small enough.
template <class D>
struct Places {
  explicit Places(const Broadcast& g) : rank(g.rank) {
    for (int axis = 0; axis < rank; ++axis) {
      const auto k = static_cast<size_t>(axis);
      sizes[axis] = D(g.sizes[k]);
      step_a[axis] = g.stride_a[k];
      step_b[axis] = g.stride_b[k];
    }
  }
  __device__ void find(int64_t i, int64_t* a, int64_t* b) const {
    auto rest = static_cast<decltype(sizes[0].value)>(i);
    *a = *b = 0;
    for (int axis = rank - 1; axis > 0; --axis) {
      const auto quotient = sizes[axis].divide(rest), at = rest - quotient * sizes[axis].value;
      *a += at * step_a[axis];
      *b += at * step_b[axis];
      rest = quotient;
    }
    *a += rest * step_a[0];
    *b += rest * step_b[0];
  }

  int rank;
  D sizes[Shape::kMaxRank];
  int64_t step_a[Shape::kMaxRank];
  int64_t step_b[Shape::kMaxRank];
};

template <class P, class T, class R, class F>
void for_each_place(int64_t n, const P& places, const T* a, const T* b, R* y, const F& f) {
  for_each(n, [=] __device__(int64_t i) {
    int64_t at_a, at_b;
    places.find(i, &at_a, &at_b);
    y[i] = f(a[at_a], b[at_b]);
  });
}

/// y[i] = f(a, b) over the result.
template <class T, class R, class F>
void for_each_pair(const Broadcast& g, const T* a, const T* b, R* y, const F& f) {
  if (g.rank == 1) {
    const int64_t step_a = g.stride_a[0], step_b = g.stride_b[0];
    for_each(g.numel, [=] __device__(int64_t i) { y[i] = f(a[i * step_a], b[i * step_b]); });
    return;
  }
  if (is_small(g.numel)) {
    for_each_place(g.numel, Places<Divisor>(g), a, b, y, f);
  } else {
    for_each_place(g.numel, Places<WideDivisor>(g), a, b, y, f);
  }
}

template <class T>
__device__ T power(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    uint64_t result = 1, base = static_cast<uint64_t>(a);
    for (; b > 0; b >>= 1, base *= base) {
      if (b & 1) result *= base;
    }
    return static_cast<T>(result);
  } else {
    return b == T(2) ? a * a : std::pow(a, b);
  }
}

/// Integers wrap on overflow, through the unsigned type.
template <class T>
struct Arithmetic {
  using Wide = std::conditional_t<std::is_integral_v<T>, uint64_t, T>;
  BinaryOp op;

  __device__ T operator()(T a, T b) const {
    const Wide u = static_cast<Wide>(a), v = static_cast<Wide>(b);
    switch (op) {
      case BinaryOp::kAdd: return static_cast<T>(u + v);
      case BinaryOp::kSub: return static_cast<T>(u - v);
      case BinaryOp::kMul: return static_cast<T>(u * v);
      case BinaryOp::kDiv: return std::is_integral_v<T> ? T(0) : a / b;
      case BinaryOp::kPow: return power(a, b);
      case BinaryOp::kAddRelu: return a + b <= T(0) ? T(0) : a + b;
    }
    return T(0);
  }
};

template <class T>
struct Compared {
  Comparison comparison;

  __device__ bool operator()(T a, T b) const {
    switch (comparison) {
      case Comparison::kEq: return a == b;
      case Comparison::kNe: return a != b;
      case Comparison::kLt: return a < b;
      case Comparison::kLe: return a <= b;
      case Comparison::kGt: return a > b;
      case Comparison::kGe: return a >= b;
    }
    return false;
  }
};

template <class T>
void apply(BinaryOp op, const Broadcast& g, const T* a, const T* b, T* y) {
  const Arithmetic<T> f{op};
  const bool is_flat = g.rank == 1 && g.numel > 1;
  if (is_flat && g.stride_a[0] == 1 && g.stride_b[0] == 1) {
    map(g.numel, [=] __device__(T u, T v, T) { return f(u, v); }, y, a, b);
  } else if (is_flat && g.stride_a[0] == 1 && g.stride_b[0] == 0) {
    map(g.numel, [=] __device__(T u, T, T) { return f(u, *b); }, y, a);
  } else {
    for_each_pair(g, a, b, y, f);
  }
}

template <class T>
void compare(Comparison comparison, const Broadcast& g, const T* a, const T* b, bool* y) {
  for_each_pair(g, a, b, y, Compared<T>{comparison});
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

}  // namespace cnnx::cuda
