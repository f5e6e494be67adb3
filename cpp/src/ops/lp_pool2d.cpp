// Power-average pooling. As ONNX defines it, |x| is taken, so odd powers of negative values are no trouble.
#include "ops/lp_pool2d.h"

#include <cmath>

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {

Tensor lp_pool2d(const Tensor& x, double norm_type, Pair kernel_size, const LPPoolOptions& options) {
  constexpr const char* kOp = "lp_pool2d";
  check(norm_type > 0 && std::isfinite(norm_type), kOp,
        "norm_type must be positive and finite; got {}. For the largest value use max_pool2d.", norm_type);
  const PoolGeometry g = pool_geometry(kOp, x, kernel_size, options.stride, 1, 0, options.fit);
  if (is_16_bit(x)) {
    return in_float32(
        x.dtype(), [&](const Tensor& wide) { return lp_pool2d(wide, norm_type, kernel_size, options); }, x);
  }
  Tensor y = empty_like(x, pooled_shape(g, x.shape()));
  dispatch_floating(x.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<LPPool2dKernels<T>>(x.device()).forward(g, static_cast<T>(norm_type), x.data<T>(), y.data<T>());
  });
  if (!grad_needed({&x})) return y;
  return record(kOp, y, {&x}, [=, saved_x = save(x), saved_y = save(y)](const Tensor& gy) -> Gradients {
    const Tensor vx = saved_x.get(kOp);
    Tensor gx = empty_like(vx);
    dispatch_floating(gy.dtype(), [&](auto t) {
      using T = decltype(t);
      kernels<LPPool2dKernels<T>>(gy.device())
          .backward(g, static_cast<T>(norm_type), vx.data<T>(), saved_y.get(kOp).template data<T>(), gy.data<T>(),
                    gx.data<T>());
    });
    return {gx};
  });
}

}  // namespace cnnx
