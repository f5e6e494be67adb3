// conv2d: checks, output size, forward and backward on whichever algorithm takes the geometry.
#include "ops/conv2d/conv2d.h"

#include "autograd.h"
#include "check.h"
#include "parallel.h"
#include "tensor_impl.h"

namespace cnnx {

Conv2dGeometry conv2d_geometry(const Shape& x, const Shape& weight, const ConvOptions& options) {
  const char* op = "conv2d";
  check(x.rank() == 4, op, "expected an input of shape (N, C, H, W); got shape {}.{}", x,
        x.rank() == 3 ? " Add a batch axis with unsqueeze(0)." : "");
  check(weight.rank() == 4, op, "expected a weight of shape (K, C / groups, R, S); got shape {}.", weight);
  check(options.groups >= 1, op, "groups must be at least 1; got {}.", options.groups);
  check(weight[0] % options.groups == 0 && weight[0] > 0, op,
        "out channels must be a positive multiple of groups; got {} and groups {}.", weight[0], options.groups);
  check(weight[1] > 0 && x[1] == weight[1] * options.groups, op,
        "expected {} input channels (weight is {}{}); got input of shape {}.", weight[1] * options.groups, weight,
        options.groups > 1 ? format(", groups {}", options.groups) : "", x);
  const Window2d window = make_window2d(op, x[2], x[3], {weight[2], weight[3]}, options.stride, options.dilation,
                                        options.padding, options.fit);
  return {x[0], x[1], weight[0], options.groups, window.h, window.w};
}

namespace {

/// Calls fn(kernels, workspace) with the chosen algorithm.
template <class T, class F>
void with_algorithm(Conv2dGeometry g, ConvPass pass, Device device, F&& fn) {
  g.threads = region_threads();
  const Conv2dKernels<T>& algorithm = choose_conv2d<T>(g, pass, device);
  const int64_t limit = workspace_limit();
  const auto too_much = [&] { return limit < kNoWorkspaceLimit && algorithm.workspace_bytes(g, pass) > limit; };
  while (g.threads > 1 && too_much()) --g.threads;
  while (g.column_bytes > 0 && too_much()) g.column_bytes /= 2;
  const Workspace workspace(static_cast<size_t>(algorithm.workspace_bytes(g, pass)), device);
  fn(g, algorithm, workspace.data());
}

Tensor backward_input(const Conv2dGeometry& g, const Tensor& gy, const Tensor& weight, const Shape& shape) {
  Tensor gx = empty_like(gy, shape);
  dispatch_floating(gy.dtype(), [&](auto t) {
    using T = decltype(t);
    with_algorithm<T>(g, ConvPass::kBackwardInput, gy.device(),
                      [&](const Conv2dGeometry& run, const auto& k, void* workspace) {
                        k.backward_input(run, gy.data<T>(), weight.data<T>(), gx.data<T>(), workspace);
                      });
  });
  return gx;
}

Tensor backward_weight(const Conv2dGeometry& g, const Tensor& x, const Tensor& gy, const Shape& shape) {
  Tensor gw = empty_like(gy, shape);
  dispatch_floating(gy.dtype(), [&](auto t) {
    using T = decltype(t);
    with_algorithm<T>(g, ConvPass::kBackwardWeight, gy.device(),
                      [&](const Conv2dGeometry& run, const auto& k, void* workspace) {
                        k.backward_weight(run, x.data<T>(), gy.data<T>(), gw.data<T>(), workspace);
                      });
  });
  return gw;
}

Tensor backward_bias(const Conv2dGeometry& g, const Tensor& gy) {
  Tensor gb = empty_like(gy, {g.out_channels});
  dispatch_floating(gy.dtype(), [&](auto t) {
    using T = decltype(t);
    choose_conv2d<T>(g, ConvPass::kBackwardWeight, gy.device()).backward_bias(g, gy.data<T>(), gb.data<T>());
  });
  return gb;
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& options) {
  const char* op = "conv2d";
  check_floating(op, x);
  check(weight.defined(), op, "expected a weight tensor; got none.");
  check_like(op, "weight", x, weight);
  check_like(op, "bias", x, bias);
  const Conv2dGeometry g = conv2d_geometry(x.shape(), weight.shape(), options);
  check(!bias.defined() || bias.shape() == Shape{g.out_channels}, op, "expected a bias of shape ({},); got {}.",
        g.out_channels, bias.defined() ? bias.shape() : Shape());
  Tensor y = empty_like(x, {g.batch, g.out_channels, g.h.output, g.w.output});
  dispatch_floating(x.dtype(), [&](auto t) {
    using T = decltype(t);
    with_algorithm<T>(g, ConvPass::kForward, x.device(),
                      [&](const Conv2dGeometry& run, const auto& k, void* workspace) {
                        k.forward(run, x.data<T>(), weight.data<T>(), bias.defined() ? bias.data<T>() : nullptr,
                                  y.data<T>(), workspace);
                      });
  });
  if (!grad_needed({&x, &weight, &bias})) return y;
  const bool need_x = x.requires_grad(), need_w = weight.requires_grad(), need_b = bias.requires_grad();
  return record(op, y, {&x, &weight, &bias},
                [=, x_shape = x.shape(), w_shape = weight.shape(), saved_x = need_w ? save(x) : Saved(),
                 saved_w = need_x ? save(weight) : Saved()](const Tensor& gy) {
                  Gradients grads(3);
                  if (need_x) grads[0] = backward_input(g, gy, saved_w.get(op), x_shape);
                  if (need_w) grads[1] = backward_weight(g, saved_x.get(op), gy, w_shape);
                  if (need_b) grads[2] = backward_bias(g, gy);
                  return grads;
                });
}

}  // namespace cnnx
