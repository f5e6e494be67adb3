// Average pooling.
#include "ops/avg_pool2d.h"

#include "autograd.h"
#include "kernels.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {

Tensor average_windows(const char* op, const PoolGeometry& g, bool count_include_pad, const Tensor& x) {
  if (is_16_bit(x)) {
    return in_float32(
        x.dtype(), [&](const Tensor& wide) { return average_windows(op, g, count_include_pad, wide); }, x);
  }
  Tensor y = empty_like(x, pooled_shape(g, x.shape()));
  dispatch_floating(x.dtype(), [&](auto t) {
    if (y.numel() == 0) return;
    using T = decltype(t);
    kernels<AvgPool2dKernels<T>>(x.device()).forward(g, count_include_pad, x.data<T>(), y.data<T>());
  });
  if (!grad_needed({&x})) return y;
  return record(op, y, {&x}, [=, shape = x.shape()](const Tensor& gy) -> Gradients {
    Tensor gx = empty_like(gy, shape);
    dispatch_floating(gy.dtype(), [&](auto t) {
      if (gy.numel() == 0) return;
      using T = decltype(t);
      kernels<AvgPool2dKernels<T>>(gy.device()).backward(g, count_include_pad, gy.data<T>(), gx.data<T>());
    });
    return {gx};
  });
}

Tensor avg_pool2d(const Tensor& x, Pair kernel_size, const AvgPoolOptions& options) {
  constexpr const char* kOp = "avg_pool2d";
  const PoolGeometry g = pool_geometry(kOp, x, kernel_size, options.stride, 1, options.padding, options.fit);
  return average_windows(kOp, g, options.count_include_pad, x);
}

}  // namespace cnnx
