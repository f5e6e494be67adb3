// group_norm, layer_norm and instance_norm: one recorded call over rows of values.
#include "ops/group_norm.h"

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {

void check_affine(const char* op, const Tensor& x, const char* name, const Tensor& tensor, const Shape& shape) {
  check_like_or_float32(op, name, x, tensor);
  check(!tensor.defined() || tensor.shape() == shape, op, "expected {} of shape {} for input {}; got {}.", name, shape,
        x.shape(), tensor.defined() ? tensor.shape() : Shape());
}

void check_eps(const char* op, double eps) { check(eps >= 0, op, "eps must not be negative; got {}.", eps); }

/// Batch, channels and plane of an input (N, C, ...), with one group.
GroupNormGeometry image_geometry(const char* op, const Tensor& x, double eps) {
  check_floating(op, x);
  check(x.rank() >= 2 && x.size(1) > 0, op, "expected an input of shape (N, C, ...); got shape {}.", x.shape());
  check_eps(op, eps);
  GroupNormGeometry g{x.size(0), 1, x.size(1), 1, eps};
  for (int axis = 2; axis < x.rank(); ++axis) g.plane *= x.size(axis);
  return g;
}

Gradients backward(const char* op, const GroupNormGeometry& g, const Saved& saved_x, const Tensor& mean,
                   const Tensor& var, const Saved& saved_w, const Tensor& gy, Gradients grads) {
  dispatch_floating(gy.dtype(), [&](auto t) {
    using T = decltype(t);
    const auto& k = kernels<GroupNormKernels<T>>(gy.device());
    const Workspace workspace(static_cast<size_t>(k.backward_bytes(g)), gy.device());
    k.backward(g, saved_x.get(op).data<T>(), mean.data<T>(), var.data<T>(), data_or_null<T>(saved_w.get(op)),
               gy.data<T>(), data_or_null<T>(grads[0]), data_or_null<T>(grads[1]), data_or_null<T>(grads[2]),
               workspace.data());
  });
  return grads;
}

struct Normalized {
  Tensor y, mean, var;
};

Normalized normalize_rows(const char* op, const GroupNormGeometry& g, DType dtype, const Tensor& x,
                          const Tensor& weight, const Tensor& bias) {
  if (is_16_bit(x)) {
    Normalized r;
    const auto normalize = [&](const Tensor& wide_x, const Tensor& wide_weight, const Tensor& wide_bias) {
      r = normalize_rows(op, g, DType::kFloat32, wide_x, wide_weight, wide_bias);
      return std::move(r.y);
    };
    r.y = in_float32(dtype, normalize, x, weight, bias);
    return r;
  }
  Normalized r{empty_like(x), empty_like(x, {g.rows()}), empty_like(x, {g.rows()})};
  dispatch_floating(x.dtype(), [&](auto t) {
    using T = decltype(t);
    const auto& k = kernels<GroupNormKernels<T>>(x.device());
    const Workspace workspace(static_cast<size_t>(k.forward_bytes(g)), x.device());
    k.forward(g, x.data<T>(), data_or_null<T>(weight), data_or_null<T>(bias), r.y.data<T>(), r.mean.data<T>(),
              r.var.data<T>(), workspace.data());
  });
  if (!grad_needed({&x, &weight, &bias})) return r;
  const bool need_x = x.requires_grad(), need_w = weight.defined() && weight.requires_grad(),
             need_b = bias.defined() && bias.requires_grad();
  r.y = record(op, r.y, {&x, &weight, &bias},
               [=,
                shape = weight.defined() ? weight.shape()
                        : bias.defined() ? bias.shape()
                                         : Shape(),
                saved_x = save(x), saved_w = save(weight), mean = r.mean, var = r.var](const Tensor& gy) {
                 Gradients grads(3);
                 if (need_x) grads[0] = empty_like(gy);
                 if (need_w) grads[1] = empty_like(gy, shape);
                 if (need_b) grads[2] = empty_like(gy, shape);
                 return backward(op, g, saved_x, mean, var, saved_w, gy, std::move(grads));
               });
  return r;
}

/// running = (1 - momentum) * running + momentum * the average over the batch of factor * the images' statistics.
void update_running(const GroupNormGeometry& g, double momentum, const Tensor& statistics, double factor,
                    Tensor running) {
  if (!running.defined() || g.batch == 0) return;
  change_in_float32(running, [&](Tensor& average) {
    dispatch_floating(average.dtype(), [&](auto t) {
      using T = decltype(t);
      kernels<GroupNormKernels<T>>(average.device())
          .blend(g, momentum, factor, statistics.data<T>(), average.data<T>());
    });
  });
  running.impl()->storage->bump_version();
}

}  // namespace

Tensor group_norm(const Tensor& x, int64_t num_groups, const Tensor& weight, const Tensor& bias, double eps) {
  constexpr const char* kOp = "group_norm";
  GroupNormGeometry g = image_geometry(kOp, x, eps);
  check(num_groups >= 1 && g.channels % num_groups == 0, kOp,
        "num_groups must be positive and divide the channels; got {} for input {}.", num_groups, x.shape());
  check_affine(kOp, x, "weight", weight, {g.channels});
  check_affine(kOp, x, "bias", bias, {g.channels});
  g.channels /= num_groups;
  g.groups = num_groups;
  return normalize_rows(kOp, g, wide_result(x), x, weight, bias).y;
}

Tensor layer_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& weight, const Tensor& bias,
                  double eps) {
  constexpr const char* kOp = "layer_norm";
  check_floating(kOp, x);
  check_eps(kOp, eps);
  const int first = x.rank() - normalized_shape.rank();
  check(normalized_shape.rank() >= 1 && first >= 0 &&
            std::equal(normalized_shape.begin(), normalized_shape.end(), x.shape().begin() + first),
        kOp, "expected an input whose last axes are {}; got shape {}.", normalized_shape, x.shape());
  check(normalized_shape.numel() > 0, kOp, "normalized_shape must have values; got {}.", normalized_shape);
  check_affine(kOp, x, "weight", weight, normalized_shape);
  check_affine(kOp, x, "bias", bias, normalized_shape);
  GroupNormGeometry g{1, 1, normalized_shape.numel(), 1, eps};
  for (int axis = 0; axis < first; ++axis) g.batch *= x.size(axis);
  return normalize_rows(kOp, g, wide_result(x), x, weight, bias).y;
}

Tensor instance_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                     const Tensor& bias, const InstanceNormOptions& options) {
  constexpr const char* kOp = "instance_norm";
  GroupNormGeometry g = image_geometry(kOp, x, options.eps);
  check(x.rank() >= 3, kOp, "expected an input of shape (N, C, L, ...); got shape {}.", x.shape());
  const Shape shape{g.channels};
  check_affine(kOp, x, "running_mean", running_mean, shape);
  check_affine(kOp, x, "running_var", running_var, shape);
  check_affine(kOp, x, "weight", weight, shape);
  check_affine(kOp, x, "bias", bias, shape);
  if (!options.use_input_stats) {
    check(running_mean.defined() && running_var.defined(), kOp,
          "use_input_stats=False needs running_mean and running_var.");
    return batch_norm(x, running_mean, running_var, weight, bias, {.training = false, .eps = options.eps});
  }
  check(g.plane > 1 || g.batch == 0, kOp,
        "the image's own statistics need more than one value a channel; got input of shape {}.", x.shape());
  std::swap(g.groups, g.channels);
  const Normalized result = normalize_rows(kOp, g, x.dtype(), x, weight, bias);
  const auto count = static_cast<double>(g.plane);
  update_running(g, options.momentum, result.mean, 1, running_mean);
  update_running(g, options.momentum, result.var, count / (count - 1), running_var);
  return result.y;
}

}  // namespace cnnx
