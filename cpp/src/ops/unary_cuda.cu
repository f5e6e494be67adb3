// Element-wise functions of one tensor on CUDA. Which function it is, every thread asks at run time: the kernels wait
// for memory anyhow, and one kernel for all keeps the library small.
#include "ops/unary.h"

#include <cmath>

#include "cuda/fours.h"

namespace cnnx::cuda {
namespace {

constexpr double kGeluScale = 0.79788456080286535588;  // sqrt(2 / pi)
constexpr double kGeluCubic = 0.044715;
constexpr double kSqrtHalf = 0.70710678118654752440;
constexpr double kInverseRootTwoPi = 0.39894228040143267794;

template <class T>
__device__ T sigmoid(T x) {
  return T(1) / (T(1) + std::exp(-x));
}
template <class T>
__device__ T normal_cdf(T x) {
  return T(0.5) * (T(1) + std::erf(x * T(kSqrtHalf)));
}
template <class T>
__device__ T gelu_tanh(T x) {
  return std::tanh(T(kGeluScale) * (x + T(kGeluCubic) * x * x * x));
}

template <class T>
__device__ T value(UnaryOp op, T a, T b, T x) {
  switch (op) {
    case UnaryOp::kNeg: return -x;
    case UnaryOp::kExp: return std::exp(x);
    case UnaryOp::kLog: return std::log(x);
    case UnaryOp::kSqrt: return std::sqrt(x);
    case UnaryOp::kAbs: return std::abs(x);
    case UnaryOp::kClip: return x < a ? a : x > b ? b : x;  // keeps NaN
    case UnaryOp::kRelu: return x <= T(0) ? T(0) : x;       // keeps NaN
    case UnaryOp::kLeakyRelu: return x > T(0) ? x : a * x;
    case UnaryOp::kSigmoid: return sigmoid(x);
    case UnaryOp::kTanh: return std::tanh(x);
    case UnaryOp::kGelu: return x * normal_cdf(x);
    case UnaryOp::kGeluTanh: return T(0.5) * x * (T(1) + gelu_tanh(x));
    case UnaryOp::kSilu: return x * sigmoid(x);
  }
  return x;
}

/// The derivative from the input or, where that is what is kept, from the output; the other is 0 then.
template <class T>
__device__ T slope(UnaryOp op, T a, T b, T x, T y) {
  switch (op) {
    case UnaryOp::kNeg: return T(-1);
    case UnaryOp::kExp: return y;
    case UnaryOp::kLog: return T(1) / x;
    case UnaryOp::kSqrt: return T(0.5) / y;
    case UnaryOp::kAbs: return x > T(0) ? T(1) : x < T(0) ? T(-1) : T(0);
    case UnaryOp::kClip: return x >= a && x <= b ? T(1) : T(0);
    case UnaryOp::kRelu: return y <= T(0) ? T(0) : T(1);
    case UnaryOp::kLeakyRelu: return x > T(0) ? T(1) : a;
    case UnaryOp::kSigmoid: return y * (T(1) - y);
    case UnaryOp::kTanh: return T(1) - y * y;
    case UnaryOp::kGelu: return normal_cdf(x) + x * T(kInverseRootTwoPi) * std::exp(T(-0.5) * x * x);
    case UnaryOp::kGeluTanh: {
      const T t = gelu_tanh(x), inner = T(kGeluScale) * (T(1) + T(3 * kGeluCubic) * x * x);
      return T(0.5) * (T(1) + t) + T(0.5) * x * (T(1) - t * t) * inner;
    }
    case UnaryOp::kSilu: {
      const T s = sigmoid(x);
      return s * (T(1) + x * (T(1) - s));
    }
  }
  return T(0);
}

/// A slope of 0 stops what comes, infinities included.
template <class T>
__device__ T times_slope(T gy, T slope) {
  return slope == T(0) ? T(0) : gy * slope;
}

template <class T>
void forward(UnaryOp op, int64_t n, T a, T b, const T* x, T* y) {
  map(n, [=] __device__(T v, T, T) { return value(op, a, b, v); }, y, x);
}

template <class T>
void backward(UnaryOp op, int64_t n, T a, T b, const T* x, const T* y, const T* gy, T* gx) {
  map(n, [=] __device__(T in, T out, T g) { return times_slope(g, slope(op, a, b, in, out)); }, gx, x, y, gy);
}

/// The least integer has no negative: it stays.
__device__ int64_t integer(UnaryOp op, int64_t a, int64_t b, int64_t x) {
  const auto negative = static_cast<int64_t>(0 - static_cast<uint64_t>(x));
  switch (op) {
    case UnaryOp::kNeg: return negative;
    case UnaryOp::kAbs: return x < 0 ? negative : x;
    case UnaryOp::kRelu: return x < 0 ? 0 : x;
    default: return x < a ? a : x > b ? b : x;
  }
}

void forward_integers(UnaryOp op, int64_t n, int64_t a, int64_t b, const int64_t* x, int64_t* y) {
  map(n, [=] __device__(int64_t v, int64_t, int64_t) { return integer(op, a, b, v); }, y, x);
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

}  // namespace cnnx::cuda
