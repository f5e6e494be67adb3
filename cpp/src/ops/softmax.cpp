// softmax and log_softmax along one axis. Both keep their output for the backward pass.
#include "ops/softmax.h"

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {

Tensor softmax(const char* op, bool logarithm, const Tensor& x, int axis) {
  check_floating(op, x);
  if (is_16_bit(x)) {
    return in_float32(wide_result(x), [&](const Tensor& wide) { return softmax(op, logarithm, wide, axis); }, x);
  }
  const int at = x.rank() == 0 && (axis == 0 || axis == -1) ? 0 : normalize_axis(op, axis, x.rank());
  ReduceGeometry g;
  for (int i = 0; i < x.rank(); ++i) (i < at ? g.outer : i == at ? g.length : g.inner) *= x.shape()[i];
  Tensor y = empty_like(x);
  dispatch_floating(x.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<SoftmaxKernels<T>>(x.device()).forward(g, logarithm, x.data<T>(), y.data<T>());
  });
  if (!grad_needed({&x})) return y;
  return record(op, y, {&x}, [=, saved = save(y)](const Tensor& gy) -> Gradients {
    Tensor gx = empty_like(gy);
    dispatch_floating(gy.dtype(), [&](auto t) {
      using T = decltype(t);
      kernels<SoftmaxKernels<T>>(gy.device())
          .backward(g, logarithm, saved.get(op).template data<T>(), gy.data<T>(), gx.data<T>());
    });
    return {gx};
  });
}

}  // namespace

Tensor softmax(const Tensor& x, int axis) { return softmax("softmax", false, x, axis); }
Tensor log_softmax(const Tensor& x, int axis) { return softmax("log_softmax", true, x, axis); }

}  // namespace cnnx
