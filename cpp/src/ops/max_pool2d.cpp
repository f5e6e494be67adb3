// Max pooling. The forward pass keeps which tap of each window won; the backward pass sends the gradient there.
#include "ops/max_pool2d.h"

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "parallel.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {

Tensor max_windows(const char* op, const PoolGeometry& g, const Tensor& x) {
  check(g.h.max_taps() < (int64_t{1} << 31) / g.w.max_taps(), op, "the window has too many taps: {} x {}.",
        g.h.max_taps(), g.w.max_taps());
  if (is_16_bit(x)) return in_float32(x.dtype(), [&](const Tensor& wide) { return max_windows(op, g, wide); }, x);
  Tensor y = empty_like(x, pooled_shape(g, x.shape()));
  const bool recorded = grad_needed({&x});
  std::shared_ptr<Storage> switches;
  if (recorded) {
    switches = std::make_shared<Storage>(static_cast<size_t>(y.numel()) * (has_byte_switches(g) ? 1 : sizeof(int32_t)),
                                         x.device());
  }
  dispatch_floating(x.dtype(), [&](auto t) {
    if (y.numel() == 0) return;
    using T = decltype(t);
    const auto& k = kernels<MaxPool2dKernels<T>>(x.device());
    PoolGeometry run = g;
    run.threads = static_cast<int>(std::min<int64_t>(region_threads(), std::max<int64_t>(1, g.planes)));
    const Workspace workspace(static_cast<size_t>(k.workspace_bytes(run)), x.device());
    k.forward(run, x.data<T>(), y.data<T>(), recorded ? switches->data() : nullptr, workspace.data());
  });
  if (!recorded) return y;
  return record(op, y, {&x}, [g, switches, shape = x.shape()](const Tensor& gy) -> Gradients {
    Tensor gx = empty_like(gy, shape);
    dispatch_floating(gy.dtype(), [&](auto t) {
      if (gy.numel() == 0) return;
      using T = decltype(t);
      kernels<MaxPool2dKernels<T>>(gy.device()).backward(g, gy.data<T>(), switches->data(), gx.data<T>());
    });
    return {gx};
  });
}

Tensor max_pool2d(const Tensor& x, Pair kernel_size, const MaxPoolOptions& options) {
  constexpr const char* kOp = "max_pool2d";
  return max_windows(
      kOp, pool_geometry(kOp, x, kernel_size, options.stride, options.dilation, options.padding, options.fit), x);
}

}  // namespace cnnx
