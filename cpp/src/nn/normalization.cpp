// BatchNorm2d, LocalResponseNorm, Dropout and Dropout2d.
#include "autograd.h"
#include "check.h"
#include "nn/fields.h"
#include "nn/init.h"
#include "ops/batch_norm.h"
#include "tensor_impl.h"

namespace cnnx {

void visit(FieldVisitor& visitor, BatchNorm2dArgs& args) {
  visitor.field("num_features", args.num_features);
  visitor.field("eps", args.options.eps);
  visitor.field("momentum", args.options.momentum);
  visitor.field("affine", args.options.affine);
  visitor.field("track_running_stats", args.options.track_running_stats);
  visitor.field("dtype", args.options.dtype);
}

BatchNorm2d::BatchNorm2d(int64_t num_features, const BatchNorm2dOptions& options) : Layer(Args{num_features, options}) {
  check_positive("BatchNorm2d", "num_features", num_features);
  check(is_floating(options.dtype), "BatchNorm2d", "parameters are floating-point numbers; got dtype {}.",
        options.dtype);
  check(options.eps >= 0, "BatchNorm2d", "eps must not be negative; got {}.", options.eps);
  check(options.momentum >= 0 && options.momentum <= 1, "BatchNorm2d", "momentum must lie in [0, 1]; got {}.",
        options.momentum);
  const Shape shape{num_features};
  const TensorOptions tensor_options{options.dtype};
  register_parameter("weight", options.affine ? ones(shape, tensor_options) : Tensor());
  register_parameter("bias", options.affine ? zeros(shape, tensor_options) : Tensor());
  const bool tracks = options.track_running_stats;
  register_buffer("running_mean", tracks ? zeros(shape, tensor_options) : Tensor());
  register_buffer("running_var", tracks ? ones(shape, tensor_options) : Tensor());
  register_buffer("num_batches_tracked", tracks ? zeros({}, {DType::kInt64}) : Tensor());
}

Tensor BatchNorm2d::forward(const Tensor& x, const Tensor& residual, bool relu) {
  check(x.defined() && x.rank() == 4, "BatchNorm2d", "expected an input (N, C, H, W); got {}.",
        x.defined() ? x.shape().str() : "none");
  const Tensor mean = buffer("running_mean"), var = buffer("running_var");
  const bool use_batch = training_ || !mean.defined() || !var.defined();
  const BatchNormOptions options{.training = use_batch, .momentum = args_.options.momentum, .eps = args_.options.eps};
  const Tensor y = batch_norm(x, mean, var, parameter("weight"), parameter("bias"), options, {residual, relu});
  if (Tensor count = buffer("num_batches_tracked"); training_ && count.defined()) {
    const NoGradGuard no_grad;
    count.copy_(count + 1);
  }
  return y;
}

std::pair<Tensor, Tensor> BatchNorm2d::evaluation_affine() const {
  const Tensor mean = buffer("running_mean"), var = buffer("running_var");
  const Tensor weight = parameter("weight"), bias = parameter("bias");
  const auto is_recorded = [](const Tensor& p) { return is_grad_enabled() && p.defined() && p.requires_grad(); };
  if (training_ || !mean.defined() || !var.defined() || is_recorded(weight) || is_recorded(bias)) return {};
  const auto fits = [&](const Tensor& x) {  // any of them may have been replaced
    return !x.defined() || (x.shape() == mean.shape() && x.dtype() == mean.dtype() && x.device() == mean.device());
  };
  if (mean.rank() != 1 || !is_floating(mean.dtype()) || is_16_bit(mean.dtype()) || !fits(var) || !fits(weight) ||
      !fits(bias))
    return {};
  return batch_norm_affine(mean, var, weight, bias, args_.options.eps);
}

void BatchNorm2d::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

void visit(FieldVisitor& visitor, LocalResponseNormArgs& args) {
  visitor.field("size", args.size);
  visitor.field("alpha", args.options.alpha);
  visitor.field("beta", args.options.beta);
  visitor.field("k", args.options.k);
}

LocalResponseNorm::LocalResponseNorm(int64_t size, const LocalResponseNormOptions& options)
    : Layer(Args{size, options}) {
  check_positive("LocalResponseNorm", "size", size);
}
Tensor LocalResponseNorm::forward(const Tensor& x) { return local_response_norm(x, args_.size, args_.options); }
void LocalResponseNorm::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

void visit(FieldVisitor& visitor, DropoutArgs& args) { visitor.field("p", args.p); }

Dropout::Dropout(double p) : Layer(Args{p}) { check(p >= 0 && p <= 1, "Dropout", "p must lie in [0, 1]; got {}.", p); }
Tensor Dropout::forward(const Tensor& x) { return dropout(x, args_.p, training_); }
void Dropout::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

Dropout2d::Dropout2d(double p) : Layer(Args{p}) {
  check(p >= 0 && p <= 1, "Dropout2d", "p must lie in [0, 1]; got {}.", p);
}
Tensor Dropout2d::forward(const Tensor& x) { return dropout2d(x, args_.p, training_); }
void Dropout2d::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

}  // namespace cnnx
