// locally_connected2d: checks, forward and backward.
#include "ops/locally_connected2d.h"

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "ops/broadcast.h"
#include "parallel.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {

constexpr const char* kOp = "locally_connected2d";

Conv2dGeometry geometry(const Shape& x, const Shape& weight, const WindowOptions& o) {
  check(x.rank() == 4, kOp, "expected an input of shape (N, C, H, W); got shape {}.{}", x,
        x.rank() == 3 ? " Add a batch axis with unsqueeze(0)." : "");
  check(weight.rank() == 6, kOp, "expected a weight of shape (OH, OW, K, C, R, S); got shape {}.", weight);
  check(weight[2] > 0 && weight[3] > 0 && x[1] == weight[3], kOp,
        "expected {} input channels (weight is {}); got input of shape {}.", weight[3], weight, x);
  const Window2d window =
      make_window2d(kOp, x[2], x[3], {weight[4], weight[5]}, o.stride, o.dilation, o.padding, o.fit);
  check(window.h.output == weight[0] && window.w.output == weight[1], kOp,
        "the weight has filters for an output of {} x {}, but an input of {} x {} gives {} x {}.", weight[0], weight[1],
        x[2], x[3], window.h.output, window.w.output);
  return {x[0], x[1], weight[2], 1, window.h, window.w};
}

/// Calls fn(geometry, kernels, workspace).
template <class T, class F>
void with_kernels(Conv2dGeometry g, ConvPass pass, Device device, F&& fn) {
  g.threads = region_threads();
  const auto& k = kernels<LocallyConnectedKernels<T>>(device);
  const Workspace workspace(static_cast<size_t>(k.workspace_bytes(g, pass)), device);
  fn(g, k, workspace.data());
}

Tensor backward_input(const Conv2dGeometry& g, const Tensor& gy, const Tensor& weight) {
  Tensor gx = empty_like(gy, {g.batch, g.in_channels, g.h.input, g.w.input});
  dispatch_floating(gy.dtype(), [&](auto t) {
    using T = decltype(t);
    with_kernels<T>(g, ConvPass::kBackwardInput, gy.device(),
                    [&](const Conv2dGeometry& run, const auto& k, void* workspace) {
                      k.backward_input(run, gy.data<T>(), weight.data<T>(), gx.data<T>(), workspace);
                    });
  });
  return gx;
}

Tensor backward_weight(const Conv2dGeometry& g, const Tensor& x, const Tensor& gy, const Shape& shape) {
  if (g.batch == 0) return zeros(shape, {gy.dtype(), gy.device()});
  Tensor gw = empty_like(gy, shape);
  dispatch_floating(gy.dtype(), [&](auto t) {
    using T = decltype(t);
    with_kernels<T>(g, ConvPass::kBackwardWeight, gy.device(),
                    [&](const Conv2dGeometry& run, const auto& k, void* workspace) {
                      k.backward_weight(run, x.data<T>(), gy.data<T>(), gw.data<T>(), workspace);
                    });
  });
  return gw;
}

}  // namespace

Tensor locally_connected2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const WindowOptions& options) {
  check_floating(kOp, x);
  check(weight.defined(), kOp, "expected a weight tensor; got none.");
  check_factor(kOp, "weight", x, weight);
  check_factor(kOp, "bias", x, bias);
  if (const auto dtype = narrow_product(x)) {
    const auto fn = [&](const Tensor& wide_x, const Tensor& wide_weight, const Tensor& wide_bias) {
      return locally_connected2d(wide_x, wide_weight, wide_bias, options);
    };
    return product_in_float32(*dtype, fn, x, weight, bias);
  }
  const Conv2dGeometry g = geometry(x.shape(), weight.shape(), options);
  const Shape bias_shape{g.out_channels, g.h.output, g.w.output};
  check(!bias.defined() || bias.shape() == bias_shape, kOp, "expected a bias of shape {}; got {}.", bias_shape,
        bias.defined() ? bias.shape() : Shape());
  Tensor y = empty_like(x, {g.batch, g.out_channels, g.h.output, g.w.output});
  dispatch_floating(x.dtype(), [&](auto t) {
    using T = decltype(t);
    with_kernels<T>(g, ConvPass::kForward, x.device(), [&](const Conv2dGeometry& run, const auto& k, void* workspace) {
      k.forward(run, x.data<T>(), weight.data<T>(), data_or_null<T>(bias), y.data<T>(), workspace);
    });
  });
  if (!grad_needed({&x, &weight, &bias})) return y;
  const bool need_x = x.requires_grad(), need_w = weight.requires_grad(), need_b = bias.requires_grad();
  return record(kOp, y, {&x, &weight, &bias},
                [=, w_shape = weight.shape(), saved_x = need_w ? save(x) : Saved(),
                 saved_w = need_x ? save(weight) : Saved()](const Tensor& gy) {
                  Gradients grads(3);
                  if (need_x) grads[0] = backward_input(g, gy, saved_w.get(kOp));
                  if (need_w) grads[1] = backward_weight(g, saved_x.get(kOp), gy, w_shape);
                  if (need_b) grads[2] = sum_to(gy, bias_shape);
                  return grads;
                });
}

}  // namespace cnnx
