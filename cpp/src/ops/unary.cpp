// Element-wise functions of one tensor; neg, exp, log, sqrt, abs and clip. Those of integers that give integers have
// kernels of their own, the others go through float64 to float32.
#include "ops/unary.h"

#include <limits>

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {

bool keeps_integers(UnaryOp op) { return op == UnaryOp::kNeg || op == UnaryOp::kAbs || op == UnaryOp::kRelu; }

Tensor of_integers(UnaryOp op, const Tensor& values, int64_t a = 0, int64_t b = 0) {
  const Tensor x = values.to(DType::kInt64);
  Tensor y = empty_like(x);
  kernels<UnaryKernels<int64_t>>(x.device()).forward(op, x.numel(), a, b, x.data<int64_t>(), y.data<int64_t>());
  return y;
}

bool backward_needs_output(UnaryOp op) {
  return op == UnaryOp::kExp || op == UnaryOp::kSqrt || op == UnaryOp::kRelu || op == UnaryOp::kSigmoid ||
         op == UnaryOp::kTanh;
}

bool backward_needs_input(UnaryOp op) { return op != UnaryOp::kNeg && !backward_needs_output(op); }

/// The gradient of x, in place of that of y if nobody else can see it; x and y are undefined where the function does
/// not need them.
Tensor backward(UnaryOp op, double a, double b, const Tensor& x, const Tensor& y, const Tensor& gy) {
  Tensor gx = is_ours(gy) ? gy : empty_like(gy);
  dispatch_floating(gy.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<UnaryKernels<T>>(gy.device())
        .backward(op, gy.numel(), static_cast<T>(a), static_cast<T>(b), data_or_null<T>(x), data_or_null<T>(y),
                  gy.data<T>(), gx.data<T>());
  });
  return gx;
}

}  // namespace

Tensor unary(UnaryOp op, const char* name, Tensor x, double a, double b) {
  check(x.defined(), name, "expected a tensor; got an undefined one.");
  const DType given = x.dtype();
  if (!is_floating(given) && keeps_integers(op)) return of_integers(op, x);
  if (!is_floating(given)) x = x.to(given == DType::kBool ? DType::kFloat32 : DType::kFloat64);
  if (is_16_bit(x)) {
    const bool stays_wide = op == UnaryOp::kExp || op == UnaryOp::kLog;
    return in_float32(
        stays_wide ? wide_result(x) : given, [&](const Tensor& wide) { return unary(op, name, wide, a, b); }, x);
  }
  Tensor y = empty_like(x);
  dispatch_floating(x.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<UnaryKernels<T>>(x.device())
        .forward(op, x.numel(), static_cast<T>(a), static_cast<T>(b), x.data<T>(), y.data<T>());
  });
  if (!is_floating(given)) return y.to(DType::kFloat32);
  if (!grad_needed({&x})) return y;
  return record(name, y, {&x},
                [=, saved_x = backward_needs_input(op) ? save(x) : Saved(),
                 saved_y = backward_needs_output(op) ? save(y) : Saved()](const Tensor& gy) -> Gradients {
                  return {backward(op, a, b, saved_x.get(name), saved_y.get(name), gy)};
                });
}

Tensor relu_backward(const Tensor& gy, const Tensor& y) { return backward(UnaryOp::kRelu, 0, 0, {}, y, gy); }

Tensor neg(const Tensor& x) { return unary(UnaryOp::kNeg, "neg", x); }
Tensor exp(const Tensor& x) { return unary(UnaryOp::kExp, "exp", x); }
Tensor log(const Tensor& x) { return unary(UnaryOp::kLog, "log", x); }
Tensor sqrt(const Tensor& x) { return unary(UnaryOp::kSqrt, "sqrt", x); }
Tensor abs(const Tensor& x) { return unary(UnaryOp::kAbs, "abs", x); }

Tensor clip(const Tensor& x, std::optional<Scalar> min, std::optional<Scalar> max) {
  constexpr const char* kOp = "clip";
  check(x.defined(), kOp, "expected a tensor; got an undefined one.");
  check(min || max, kOp, "expected min, max or both; got neither.");
  const bool of_integer = (!min || min->is_integer()) && (!max || max->is_integer());
  const bool ordered =
      !min || !max || (of_integer ? min->as<int64_t>() <= max->as<int64_t>() : min->as<double>() <= max->as<double>());
  check(ordered, kOp, "min must not exceed max; got min={}, max={}.", min.value_or(0).as<double>(),
        max.value_or(0).as<double>());
  if (of_integer && !is_floating(x.dtype())) {
    return of_integers(UnaryOp::kClip, x, min.value_or(INT64_MIN).as<int64_t>(), max.value_or(INT64_MAX).as<int64_t>());
  }
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return unary(UnaryOp::kClip, kOp, is_floating(x.dtype()) ? x : x.to(DType::kFloat32),
               min.value_or(-kInfinity).as<double>(), max.value_or(kInfinity).as<double>());
}

}  // namespace cnnx
