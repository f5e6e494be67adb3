// conv2d: checks, output size, forward and backward on whichever algorithm takes the geometry.
#include "ops/conv2d/conv2d.h"

#include "autograd.h"
#include "check.h"
#include "cnnx/autotune.h"
#include "kernels.h"
#include "ops/conv2d/choice.h"
#include "ops/conv2d/fused.h"
#include "ops/conv2d/prepared.h"
#include "ops/conv2d/weight_factors.h"
#include "ops/product_gradient.h"
#include "ops/residual.h"
#include "ops/unary.h"
#include "parallel.h"
#include "tensor_impl.h"
#include "widening.h"

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

/// Calls fn(geometry, kernels, workspace, output) with the chosen algorithm, and before, where autotune has not met the
/// geometry yet, with each on an output of scratch memory.
template <class T, class F>
void with_algorithm(Conv2dGeometry g, ConvPass pass, Tensor& output, const F& fn) {
  g.threads = region_threads();
  g.workspace_limit = workspace_limit();
  const Device device = output.device();
  const auto run = [&](const Conv2dKernels<T>& algorithm, T* to) {
    Conv2dGeometry fitted = g;
    const auto bytes = [&] { return algorithm.workspace_bytes(fitted, pass); };
    const auto too_much = [&] { return g.workspace_limit < kNoWorkspaceLimit && bytes() > g.workspace_limit; };
    while (fitted.threads > 1 && too_much()) --fitted.threads;
    while (fitted.column_bytes > 0 && too_much()) fitted.column_bytes /= 2;
    const Workspace workspace(static_cast<size_t>(bytes()), device);
    fn(fitted, algorithm, workspace.data(), to);
  };
  const bool by_time = is_autotune_enabled() && !pinned_conv2d<T>(g, pass, device);
  run(by_time ? autotuned_conv2d<T>(g, pass, device, output.numel(), run) : choose_conv2d<T>(g, pass, device),
      output.data<T>());
}

template <class T>
void forward(Conv2dGeometry g, const Tensor& x, const Tensor& weight, const ConvEpilogue<T>& epilogue, Tensor& y) {
  with_algorithm<T>(g, ConvPass::kForward, y, [&](Conv2dGeometry run, const auto& k, void* workspace, T* to) {
    run.is_prepared = run.is_prepared && k.prepared_values;
    const auto prepared = run.is_prepared ? prepared_weight<T>(k, run, weight) : nullptr;
    const T* w = prepared ? static_cast<const T*>(prepared->values.data()) : weight.data<T>();
    k.forward(run, x.data<T>(), w, epilogue, to, workspace);
  });
}

/// Whether the weight's gradient is left to the optimizer as a product: where positions are few, their patches take far
/// less memory than the gradient. Not where an algorithm is pinned or scratch memory is limited.
bool is_left_to_optimizer(const Conv2dGeometry& g, Device device) {
  return stays_product(g.batch * g.output_plane(), g.filter_size(), g.out_channels, device) &&
         kernels<WeightFactorsKernels<float>>(device).accepts(g) && workspace_limit() == kNoWorkspaceLimit &&
         !pinned_conv2d<float>(g, ConvPass::kBackwardWeight, device);
}

template <class T>
Tensor weight_product(Conv2dGeometry g, const Tensor& x, const Tensor& gy, const Shape& shape) {
  g.threads = region_threads();
  const auto& k = kernels<WeightFactorsKernels<T>>(gy.device());
  const auto product = make_product<T>(g.batch * g.output_plane(), g.filter_size(), g.out_channels, gy.device());
  const Workspace workspace(static_cast<size_t>(k.workspace_bytes(g)), gy.device());
  k.factors(g, x.data<T>(), gy.data<T>(), static_cast<T*>(product->left.data()), static_cast<T*>(product->right.data()),
            workspace.data());
  return product_gradient<T>(product, shape);
}

}  // namespace

Tensor conv2d_forward(const Conv2dGeometry& g, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  Tensor y = empty_like(x, {g.batch, g.out_channels, g.h.output, g.w.output});
  dispatch_floating(x.dtype(), [&](auto t) {
    using T = decltype(t);
    forward<T>(g, x, weight, {.shift = data_or_null<T>(bias)}, y);
  });
  return y;
}

Tensor conv2d_backward_input(const Conv2dGeometry& g, const Tensor& gy, const Tensor& weight) {
  Tensor gx = empty_like(gy, {g.batch, g.in_channels, g.h.input, g.w.input});
  dispatch_floating(gy.dtype(), [&](auto t) {
    using T = decltype(t);
    with_algorithm<T>(g, ConvPass::kBackwardInput, gx,
                      [&](const Conv2dGeometry& run, const auto& k, void* workspace, T* to) {
                        k.backward_input(run, gy.data<T>(), weight.data<T>(), to, workspace);
                      });
  });
  return gx;
}

Tensor conv2d_backward_weight(const Conv2dGeometry& g, const Tensor& x, const Tensor& gy) {
  const Shape shape{g.out_channels, g.group_in(), g.h.kernel, g.w.kernel};
  if (is_left_to_optimizer(g, gy.device())) {
    return dispatch_floating(gy.dtype(), [&](auto t) { return weight_product<decltype(t)>(g, x, gy, shape); });
  }
  Tensor gw = empty_like(gy, shape);
  dispatch_floating(gy.dtype(), [&](auto t) {
    using T = decltype(t);
    with_algorithm<T>(g, ConvPass::kBackwardWeight, gw,
                      [&](const Conv2dGeometry& run, const auto& k, void* workspace, T* to) {
                        k.backward_weight(run, x.data<T>(), gy.data<T>(), to, workspace);
                      });
  });
  return gw;
}

Tensor folded_shift(const ConvFusion& fusion, const Tensor& bias) {
  if (fusion.scale.defined() && bias.defined()) return fusion.scale * bias + fusion.shift;
  return fusion.shift.defined() ? fusion.shift : bias;
}

Tensor conv2d_backward_bias(const Conv2dGeometry& g, const Tensor& gy) {
  Tensor gb = empty_like(gy, {g.out_channels});
  dispatch_floating(gy.dtype(), [&](auto t) {
    using T = decltype(t);
    choose_conv2d<T>(g, ConvPass::kBackwardWeight, gy.device()).backward_bias(g, gy.data<T>(), gb.data<T>());
  });
  return gb;
}

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& options) {
  return conv2d(x, weight, bias, options, ConvFusion());
}

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& options,
              const ConvFusion& fusion) {
  const char* op = "conv2d";
  check_floating(op, x);
  check(weight.defined(), op, "expected a weight tensor; got none.");
  check_factor(op, "weight", x, weight);
  check_factor(op, "bias", x, bias);
  check_factor(op, "the residual", x, fusion.residual);
  if (const auto dtype = narrow_product(x)) {
    const auto fn = [&](const Tensor& wide_x, const Tensor& wide_weight, const Tensor& wide_bias, const Tensor& scale,
                        const Tensor& shift, const Tensor& residual) {
      return conv2d(wide_x, wide_weight, wide_bias, options, {scale, shift, residual, fusion.relu});
    };
    return product_in_float32(*dtype, fn, x, weight, bias, fusion.scale, fusion.shift, fusion.residual);
  }
  Conv2dGeometry g = conv2d_geometry(x.shape(), weight.shape(), options);
  g.precision = compute_precision(x);
  check(!bias.defined() || bias.shape() == Shape{g.out_channels}, op, "expected a bias of shape ({},); got {}.",
        g.out_channels, bias.defined() ? bias.shape() : Shape());
  const Tensor& residual = fusion.residual;
  const Shape shape{g.batch, g.out_channels, g.h.output, g.w.output};
  if (residual.defined()) check_residual(shape, residual.shape());
  Tensor y = empty_like(x, shape);
  Conv2dGeometry run = g;
  run.is_prepared = stays(weight);
  dispatch_floating(x.dtype(), [&](auto t) {
    using T = decltype(t);
    const Tensor shift = folded_shift(fusion, bias);
    forward<T>(run, x, weight,
               {data_or_null<T>(fusion.scale), data_or_null<T>(shift), data_or_null<T>(residual), fusion.relu}, y);
  });
  if (!grad_needed({&x, &weight, &bias, &residual})) return y;
  const auto needs = [](const Tensor& tensor) { return tensor.defined() && tensor.requires_grad(); };
  const bool need_x = needs(x), need_w = needs(weight), need_b = needs(bias), need_residual = needs(residual);
  return record(op, y, {&x, &weight, &bias, &residual},
                [=, saved_x = need_w ? save(x) : Saved(), saved_w = need_x ? save(weight) : Saved(),
                 saved_y = fusion.relu ? save(y) : Saved()](const Tensor& gradient) {
                  const Tensor gy = saved_y.defined() ? relu_backward(gradient, saved_y.get(op)) : gradient;
                  Gradients grads(4);
                  if (need_x) grads[0] = conv2d_backward_input(g, gy, saved_w.get(op));
                  if (need_w) grads[1] = conv2d_backward_weight(g, saved_x.get(op), gy);
                  if (need_b) grads[2] = conv2d_backward_bias(g, gy);
                  if (need_residual) grads[3] = gy;
                  return grads;
                });
}

}  // namespace cnnx
