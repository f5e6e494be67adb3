// neg, exp, log, sqrt, abs and clip on the CPU.
#include "ops/unary.h"

#include <cmath>

#include "kernels.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

template <class F>
void for_each(int64_t n, F f) {
  parallel_for(n, kElementGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

template <class T>
void forward(UnaryOp op, int64_t n, T low, T high, const T* x, T* y) {
  switch (op) {
    case UnaryOp::kNeg: return for_each(n, [=](int64_t i) { y[i] = -x[i]; });
    case UnaryOp::kExp: return for_each(n, [=](int64_t i) { y[i] = std::exp(x[i]); });
    case UnaryOp::kLog: return for_each(n, [=](int64_t i) { y[i] = std::log(x[i]); });
    case UnaryOp::kSqrt: return for_each(n, [=](int64_t i) { y[i] = std::sqrt(x[i]); });
    case UnaryOp::kAbs: return for_each(n, [=](int64_t i) { y[i] = std::abs(x[i]); });
    case UnaryOp::kClip:  // keeps NaN
      return for_each(n, [=](int64_t i) { y[i] = x[i] < low ? low : x[i] > high ? high : x[i]; });
  }
}

template <class T>
void backward(UnaryOp op, int64_t n, T low, T high, const T* x, const T* y, const T* gy, T* gx) {
  switch (op) {
    case UnaryOp::kNeg: return for_each(n, [=](int64_t i) { gx[i] = -gy[i]; });
    case UnaryOp::kExp: return for_each(n, [=](int64_t i) { gx[i] = gy[i] * y[i]; });
    case UnaryOp::kLog: return for_each(n, [=](int64_t i) { gx[i] = gy[i] / x[i]; });
    case UnaryOp::kSqrt: return for_each(n, [=](int64_t i) { gx[i] = gy[i] / (2 * y[i]); });
    case UnaryOp::kAbs: return for_each(n, [=](int64_t i) { gx[i] = x[i] > 0 ? gy[i] : x[i] < 0 ? -gy[i] : T(0); });
    case UnaryOp::kClip: return for_each(n, [=](int64_t i) { gx[i] = x[i] >= low && x[i] <= high ? gy[i] : T(0); });
  }
}

template <class T>
constexpr UnaryKernels<T> kTable{forward<T>, backward<T>};

}  // namespace

template <>
const UnaryKernels<float>& table() {
  return kTable<float>;
}
template <>
const UnaryKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
