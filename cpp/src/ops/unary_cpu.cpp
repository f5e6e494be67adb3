// Element-wise functions of one tensor on the CPU.
#include "ops/unary.h"

#include <cmath>

#include "kernels.h"
#include "ops/vmath.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

template <class F>
void for_each(int64_t n, F f) {
  parallel_for(n, kElementGrain, [&](int64_t begin, int64_t end) {
    const F own = f;  // what it holds cannot be among the values written
#pragma omp simd      // results may take the place of what they are computed from
    for (int64_t i = begin; i < end; ++i) own(i);
  });
}

// GELU's approximation: tanh of kGeluScale * (x + kGeluCubic * x^3) in place of the error function.
constexpr double kGeluScale = 0.79788456080286535588;  // sqrt(2 / pi)
constexpr double kGeluCubic = 0.044715;

template <class T>
T gelu_tanh(T x) {
  return vmath::tanh(T(kGeluScale) * (x + T(kGeluCubic) * x * x * x));
}

/// Either value. Taking both as arguments reads them in any case, which is what lets the compiler vectorise the loop.
template <class T>
T choose(bool condition, T yes, T no) {
  return condition ? yes : no;
}

template <class T>
void forward(UnaryOp op, int64_t n, T a, T b, const T* x, T* y) {
  switch (op) {
    case UnaryOp::kNeg: return for_each(n, [=](int64_t i) { y[i] = -x[i]; });
    case UnaryOp::kExp: return for_each(n, [=](int64_t i) { y[i] = vmath::exp(x[i]); });
    case UnaryOp::kLog: return for_each(n, [=](int64_t i) { y[i] = std::log(x[i]); });
    case UnaryOp::kSqrt: return for_each(n, [=](int64_t i) { y[i] = std::sqrt(x[i]); });
    case UnaryOp::kAbs: return for_each(n, [=](int64_t i) { y[i] = std::abs(x[i]); });
    case UnaryOp::kClip:  // keeps NaN
      return for_each(n, [=](int64_t i) { y[i] = choose(x[i] < a, a, choose(x[i] > b, b, x[i])); });
    case UnaryOp::kRelu: return for_each(n, [=](int64_t i) { y[i] = x[i] <= T(0) ? T(0) : x[i]; });  // keeps NaN
    case UnaryOp::kLeakyRelu: return for_each(n, [=](int64_t i) { y[i] = choose(x[i] > T(0), x[i], a * x[i]); });
    case UnaryOp::kSigmoid: return for_each(n, [=](int64_t i) { y[i] = vmath::sigmoid(x[i]); });
    case UnaryOp::kTanh: return for_each(n, [=](int64_t i) { y[i] = vmath::tanh(x[i]); });
    case UnaryOp::kGelu: return for_each(n, [=](int64_t i) { y[i] = x[i] * vmath::normal_cdf(x[i]); });
    case UnaryOp::kGeluTanh: return for_each(n, [=](int64_t i) { y[i] = T(0.5) * x[i] * (T(1) + gelu_tanh(x[i])); });
    case UnaryOp::kSilu: return for_each(n, [=](int64_t i) { y[i] = x[i] * vmath::sigmoid(x[i]); });
  }
}

template <class T>
T gelu_tanh_slope(T x) {
  const T t = gelu_tanh(x), inner = T(kGeluScale) * (T(1) + T(3 * kGeluCubic) * x * x);
  return T(0.5) * (T(1) + t) + T(0.5) * x * (T(1) - t * t) * inner;
}

template <class T>
T silu_slope(T x) {
  const T s = vmath::sigmoid(x);
  return s * (T(1) + x * (T(1) - s));
}

template <class T>
T where(bool condition, T value) {
  return choose(condition, value, T(0));
}

template <class T>
void backward(UnaryOp op, int64_t n, T a, T b, const T* x, const T* y, const T* gy, T* gx) {
  switch (op) {
    case UnaryOp::kNeg: return for_each(n, [=](int64_t i) { gx[i] = -gy[i]; });
    case UnaryOp::kExp: return for_each(n, [=](int64_t i) { gx[i] = gy[i] * y[i]; });
    case UnaryOp::kLog: return for_each(n, [=](int64_t i) { gx[i] = gy[i] / x[i]; });
    case UnaryOp::kSqrt: return for_each(n, [=](int64_t i) { gx[i] = gy[i] / (2 * y[i]); });
    case UnaryOp::kAbs: return for_each(n, [=](int64_t i) { gx[i] = where(x[i] > 0, gy[i]) - where(x[i] < 0, gy[i]); });
    case UnaryOp::kClip: return for_each(n, [=](int64_t i) { gx[i] = where((x[i] >= a) & (x[i] <= b), gy[i]); });
    case UnaryOp::kRelu: return for_each(n, [=](int64_t i) { gx[i] = where(!(y[i] <= T(0)), gy[i]); });
    case UnaryOp::kLeakyRelu: return for_each(n, [=](int64_t i) { gx[i] = gy[i] * choose(x[i] > T(0), T(1), a); });
    case UnaryOp::kSigmoid: return for_each(n, [=](int64_t i) { gx[i] = gy[i] * y[i] * (T(1) - y[i]); });
    case UnaryOp::kTanh: return for_each(n, [=](int64_t i) { gx[i] = gy[i] * (T(1) - y[i] * y[i]); });
    case UnaryOp::kGelu:
      return for_each(n,
                      [=](int64_t i) { gx[i] = gy[i] * (vmath::normal_cdf(x[i]) + x[i] * vmath::normal_pdf(x[i])); });
    case UnaryOp::kGeluTanh: return for_each(n, [=](int64_t i) { gx[i] = gy[i] * gelu_tanh_slope(x[i]); });
    case UnaryOp::kSilu: return for_each(n, [=](int64_t i) { gx[i] = gy[i] * silu_slope(x[i]); });
  }
}

/// The least integer has no negative: it stays.
int64_t negative(int64_t x) { return static_cast<int64_t>(0 - static_cast<uint64_t>(x)); }

void forward_integers(UnaryOp op, int64_t n, int64_t a, int64_t b, const int64_t* x, int64_t* y) {
  switch (op) {
    case UnaryOp::kNeg: return for_each(n, [=](int64_t i) { y[i] = negative(x[i]); });
    case UnaryOp::kAbs: return for_each(n, [=](int64_t i) { y[i] = x[i] < 0 ? negative(x[i]) : x[i]; });
    case UnaryOp::kRelu: return for_each(n, [=](int64_t i) { y[i] = x[i] < 0 ? 0 : x[i]; });
    default: return for_each(n, [=](int64_t i) { y[i] = x[i] < a ? a : x[i] > b ? b : x[i]; });
  }
}

template <class T>
constexpr UnaryKernels<T> kTable{forward<T>, backward<T>};
constexpr UnaryKernels<int64_t> kIntegers{forward_integers, nullptr};

}  // namespace

template <>
const UnaryKernels<float>& table() {
  return kTable<float>;
}
template <>
const UnaryKernels<double>& table() {
  return kTable<double>;
}
template <>
const UnaryKernels<int64_t>& table() {
  return kIntegers;
}

}  // namespace cnnx::CNNX_ISA
