// Batch normalization over all axes but the second.
#include "ops/batch_norm.h"

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "ops/residual.h"
#include "ops/unary.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {

constexpr const char* kOp = "batch_norm";

BatchNormGeometry geometry(const char* op, const Tensor& x,
                           std::initializer_list<std::pair<const char*, const Tensor*>> vectors) {
  check_floating(op, x);
  check(x.rank() >= 2, op, "expected an input of shape (N, C, ...); got shape {}.", x.shape());
  BatchNormGeometry g{x.size(0), x.size(1), 1};
  for (int axis = 2; axis < x.rank(); ++axis) g.plane *= x.size(axis);
  for (const auto& [name, tensor] : vectors) {
    check_like_or_float32(op, name, x, *tensor);
    check(!tensor->defined() || tensor->shape() == Shape{g.channels}, op,
          "expected {} of shape ({},) for input {}; got {}.", name, g.channels, x.shape(),
          tensor->defined() ? tensor->shape() : Shape());
  }
  return g;
}

/// running = (1 - momentum) * running + momentum * batch's, with the unbiased variance.
template <class T>
void update_running(const BatchNormGeometry& g, double momentum, const Tensor& mean, const Tensor& var,
                    Tensor running_mean, Tensor running_var) {
  const double unbias = static_cast<double>(g.count()) / static_cast<double>(g.count() - 1);
  const auto blend = [&](Tensor& running, const Tensor& batch, double factor) {
    if (!running.defined()) return;
    change_in_float32(running, [&](Tensor& average) {
      kernels<BatchNormKernels<T>>(average.device())
          .blend(g.channels, momentum, factor, batch.data<T>(), average.data<T>());
    });
    running.impl()->storage->bump_version();
  };
  blend(running_mean, mean, 1);
  blend(running_var, var, unbias);
}

Tensor inverse_deviation(const Tensor& var, double eps) {
  Tensor result = empty_like(var);
  dispatch_floating(var.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<BatchNormKernels<T>>(var.device()).inverse_deviation(var.numel(), eps, var.data<T>(), result.data<T>());
  });
  return result;
}

/// What batch_norm() does once all is checked; the running statistics may be of 16 bits if they are only written.
Tensor normalize(const BatchNormGeometry& g, const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                 const Tensor& weight, const Tensor& bias, const BatchNormOptions& options,
                 const BatchNormFusion& fusion) {
  const bool training = options.training;
  const Tensor& residual = fusion.residual;
  Tensor mean = running_mean, var = running_var;
  Tensor y = empty_like(x);
  if (training) mean = empty_like(x, {g.channels}), var = empty_like(mean);
  Tensor invstd;
  dispatch_floating(x.dtype(), [&](auto t) {
    using T = decltype(t);
    const auto& k = kernels<BatchNormKernels<T>>(x.device());
    if (training) {
      k.statistics(g, x.data<T>(), mean.data<T>(), var.data<T>());
      update_running<T>(g, options.momentum, mean, var, running_mean, running_var);
    }
    invstd = inverse_deviation(var, options.eps);
    k.forward(g, x.data<T>(), std::as_const(mean).data<T>(), invstd.data<T>(), data_or_null<T>(weight),
              data_or_null<T>(bias), data_or_null<T>(residual), fusion.relu, y.data<T>());
  });
  if (!grad_needed({&x, &weight, &bias, &residual})) return y;
  const auto needs = [](const Tensor& tensor) { return tensor.defined() && tensor.requires_grad(); };
  const bool need_x = needs(x), need_w = needs(weight), need_b = needs(bias), need_residual = needs(residual);
  // With a residual ReLU's output says where gradients pass, without one the kernel works it out again.
  const bool masks = fusion.relu && residual.defined(), relu = fusion.relu && !masks;
  return record(kOp, y, {&x, &weight, &bias, &residual},
                [=, saved_x = save(x), saved_mean = save(mean), saved_w = save(weight), saved_b = save(bias),
                 saved_y = masks ? save(y) : Saved()](const Tensor& gradient) {
                  const Tensor gy = masks ? relu_backward(gradient, saved_y.get(kOp)) : gradient;
                  Gradients grads(4);
                  if (need_x) grads[0] = empty_like(gy);
                  if (need_w) grads[1] = empty_like(gy, {g.channels});
                  if (need_b) grads[2] = empty_like(gy, {g.channels});
                  if (need_residual) grads[3] = gy;
                  dispatch_floating(gy.dtype(), [&](auto t) {
                    using T = decltype(t);
                    const auto out = [](Tensor& grad) { return grad.defined() ? grad.data<T>() : nullptr; };
                    kernels<BatchNormKernels<T>>(gy.device())
                        .backward(g, training, relu, saved_x.get(kOp).template data<T>(),
                                  saved_mean.get(kOp).template data<T>(), invstd.data<T>(),
                                  data_or_null<T>(saved_w.get(kOp)), data_or_null<T>(saved_b.get(kOp)), gy.data<T>(),
                                  out(grads[0]), out(grads[1]), out(grads[2]));
                  });
                  return grads;
                });
}

}  // namespace

std::pair<Tensor, Tensor> batch_norm_affine(const Tensor& mean, const Tensor& var, const Tensor& weight,
                                            const Tensor& bias, double eps) {
  Tensor scale = empty_like(mean), shift = empty_like(mean);
  dispatch_floating(mean.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<BatchNormKernels<T>>(mean.device())
        .affine(mean.numel(), eps, mean.data<T>(), var.data<T>(), data_or_null<T>(weight), data_or_null<T>(bias),
                scale.data<T>(), shift.data<T>());
  });
  return {scale, shift};
}

Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                  const Tensor& bias, const BatchNormOptions& options) {
  return batch_norm(x, running_mean, running_var, weight, bias, options, BatchNormFusion());
}

Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                  const Tensor& bias, const BatchNormOptions& options, const BatchNormFusion& fusion) {
  const BatchNormGeometry g = geometry(
      kOp, x, {{"running_mean", &running_mean}, {"running_var", &running_var}, {"weight", &weight}, {"bias", &bias}});
  check(options.eps >= 0, kOp, "eps must not be negative; got {}.", options.eps);
  const bool training = options.training;
  check(training || (running_mean.defined() && running_var.defined()), kOp,
        "evaluation needs running_mean and running_var. Pass them, or training=True.");
  check(!training || g.count() > 1, kOp, "training needs more than one value a channel; got input of shape {}.",
        x.shape());
  const Tensor& residual = fusion.residual;
  if (residual.defined()) check_residual(x.shape(), residual.shape());
  if (!is_16_bit(x)) return normalize(g, x, running_mean, running_var, weight, bias, options, fusion);
  const auto fn = [&](const Tensor& wide_x, const Tensor& mean, const Tensor& var, const Tensor& wide_weight,
                      const Tensor& wide_bias, const Tensor& wide_residual) {
    return normalize(g, wide_x, training ? running_mean : mean, training ? running_var : var, wide_weight, wide_bias,
                     options, {wide_residual, fusion.relu});
  };
  const Tensor none;  // statistics that are written need no copies
  return in_float32(x.dtype(), fn, x, training ? none : running_mean, training ? none : running_var, weight, bias,
                    residual);
}

}  // namespace cnnx
