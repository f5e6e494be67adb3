// Dropout. The mask is a function of the random stream: the backward pass draws it again in place of keeping it.
#include "ops/dropout.h"

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {

Tensor apply(const Tensor& x, Philox stream, double p) {
  Tensor y = empty_like(x);
  dispatch_floating(x.dtype(), [&](auto t) {
    using T = decltype(t);
    const T scale = p < 1 ? static_cast<T>(1 / (1 - p)) : T(0);
    kernels<DropoutKernels<T>>(x.device())
        .apply(x.numel(), stream, static_cast<float>(p), scale, x.data<T>(), y.data<T>());
  });
  return y;
}

}  // namespace

Tensor dropout(const Tensor& x, double p, bool training) {
  constexpr const char* kOp = "dropout";
  check_floating(kOp, x);
  check(p >= 0 && p <= 1, kOp, "p must lie in [0, 1]; got {}.", p);
  if (!training || p == 0) return x;
  if (is_16_bit(x)) return in_float32(x.dtype(), [&](const Tensor& wide) { return dropout(wide, p); }, x);
  const Philox stream = next_stream(x.device());
  const Tensor y = apply(x, stream, p);
  if (!grad_needed({&x})) return y;
  return record(kOp, y, {&x}, [=](const Tensor& gy) -> Gradients { return {apply(gy, stream, p)}; });
}

Tensor dropout2d(const Tensor& x, double p, bool training) {
  constexpr const char* kOp = "dropout2d";
  check_floating(kOp, x);
  check(x.rank() == 4, kOp, "expected images of shape (N, C, H, W); got shape {}.", x.shape());
  check(p >= 0 && p <= 1, kOp, "p must lie in [0, 1]; got {}.", p);
  if (!training || p == 0) return x;
  if (is_16_bit(x)) return in_float32(x.dtype(), [&](const Tensor& wide) { return dropout2d(wide, p); }, x);
  return x * dropout(ones({x.size(0), x.size(1), 1, 1}, {x.dtype(), x.device()}), p);
}

}  // namespace cnnx
