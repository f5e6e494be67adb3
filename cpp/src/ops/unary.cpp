// Element-wise functions of one tensor; neg, exp, log, sqrt, abs and clip. Those of integers that give integers keep
// the dtype, the others go through float64 to float32.
#include "ops/unary.h"

#include <limits>

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "tensor_impl.h"

namespace cnnx {
namespace {

bool keeps_integers(UnaryOp op) {
  return op == UnaryOp::kNeg || op == UnaryOp::kAbs || op == UnaryOp::kClip || op == UnaryOp::kRelu;
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
  if (!is_floating(given)) x = x.to(given == DType::kBool ? DType::kFloat32 : DType::kFloat64);
  Tensor y = empty_like(x);
  dispatch_floating(x.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<UnaryKernels<T>>(x.device())
        .forward(op, x.numel(), static_cast<T>(a), static_cast<T>(b), x.data<T>(), y.data<T>());
  });
  if (!is_floating(given)) return y.to(keeps_integers(op) ? DType::kInt64 : DType::kFloat32);
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

Tensor clip(const Tensor& x, std::optional<double> min, std::optional<double> max) {
  check(min || max, "clip", "expected min, max or both; got neither.");
  check(!min || !max || *min <= *max, "clip", "min must not exceed max; got min={}, max={}.", min.value_or(0),
        max.value_or(0));
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return unary(UnaryOp::kClip, "clip", x, min.value_or(-kInfinity), max.value_or(kInfinity));
}

}  // namespace cnnx
