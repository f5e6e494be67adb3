// GroupNorm, LayerNorm and InstanceNorm2d.
#include "check.h"
#include "nn/fields.h"
#include "nn/init.h"

namespace cnnx {
namespace {

void check_options(const char* op, double eps, DType dtype) {
  check(is_floating(dtype), op, "parameters are floating-point numbers; got dtype {}.", dtype);
  check(eps >= 0, op, "eps must not be negative; got {}.", eps);
}

}  // namespace

void visit(FieldVisitor& visitor, GroupNormArgs& args) {
  visitor.field("num_groups", args.num_groups);
  visitor.field("num_channels", args.num_channels);
  visitor.field("eps", args.options.eps);
  visitor.field("affine", args.options.affine);
  visitor.field("dtype", args.options.dtype);
}

GroupNorm::GroupNorm(int64_t num_groups, int64_t num_channels, const GroupNormOptions& options)
    : Layer(Args{num_groups, num_channels, options}) {
  constexpr const char* kOp = "GroupNorm";
  check_positive(kOp, "num_groups", num_groups);
  check_positive(kOp, "num_channels", num_channels);
  check(num_channels % num_groups == 0, kOp, "num_groups must divide num_channels; got {} and {}.", num_groups,
        num_channels);
  check_options(kOp, options.eps, options.dtype);
  register_parameter("weight", options.affine ? ones({num_channels}, {options.dtype}) : Tensor());
  register_parameter("bias", options.affine ? zeros({num_channels}, {options.dtype}) : Tensor());
}

Tensor GroupNorm::forward(const Tensor& x) {
  check(x.defined() && x.rank() >= 2 && x.size(1) == args_.num_channels, "GroupNorm",
        "expected an input (N, {}, ...); got {}.", args_.num_channels, x.defined() ? x.shape().str() : "none");
  return group_norm(x, args_.num_groups, parameter("weight"), parameter("bias"), args_.options.eps);
}

void GroupNorm::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

void visit(FieldVisitor& visitor, LayerNormArgs& args) {
  visitor.field("normalized_shape", args.normalized_shape);
  visitor.field("eps", args.options.eps);
  visitor.field("elementwise_affine", args.options.elementwise_affine);
  visitor.field("bias", args.options.bias);
  visitor.field("dtype", args.options.dtype);
}

LayerNorm::LayerNorm(const Shape& normalized_shape, const LayerNormOptions& options)
    : Layer(Args{normalized_shape, options}) {
  constexpr const char* kOp = "LayerNorm";
  check(normalized_shape.rank() >= 1, kOp, "normalized_shape needs at least one length; got ().");
  for (const int64_t size : normalized_shape) check_positive(kOp, "normalized_shape", size);
  check_options(kOp, options.eps, options.dtype);
  const bool affine = options.elementwise_affine;
  register_parameter("weight", affine ? ones(normalized_shape, {options.dtype}) : Tensor());
  register_parameter("bias", affine && options.bias ? zeros(normalized_shape, {options.dtype}) : Tensor());
}

Tensor LayerNorm::forward(const Tensor& x) {
  return layer_norm(x, args_.normalized_shape, parameter("weight"), parameter("bias"), args_.options.eps);
}

void LayerNorm::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

void visit(FieldVisitor& visitor, InstanceNorm2dArgs& args) {
  visitor.field("num_features", args.num_features);
  visitor.field("eps", args.options.eps);
  visitor.field("momentum", args.options.momentum);
  visitor.field("affine", args.options.affine);
  visitor.field("track_running_stats", args.options.track_running_stats);
  visitor.field("dtype", args.options.dtype);
}

InstanceNorm2d::InstanceNorm2d(int64_t num_features, const InstanceNorm2dOptions& options)
    : Layer(Args{num_features, options}) {
  constexpr const char* kOp = "InstanceNorm2d";
  check_positive(kOp, "num_features", num_features);
  check_options(kOp, options.eps, options.dtype);
  check(options.momentum >= 0 && options.momentum <= 1, kOp, "momentum must lie in [0, 1]; got {}.", options.momentum);
  const Shape shape{num_features};
  const TensorOptions tensor_options{options.dtype};
  register_parameter("weight", options.affine ? ones(shape, tensor_options) : Tensor());
  register_parameter("bias", options.affine ? zeros(shape, tensor_options) : Tensor());
  const bool tracks = options.track_running_stats;
  register_buffer("running_mean", tracks ? zeros(shape, tensor_options) : Tensor());
  register_buffer("running_var", tracks ? ones(shape, tensor_options) : Tensor());
  register_buffer("num_batches_tracked", tracks ? zeros({}, {DType::kInt64}) : Tensor());
}

Tensor InstanceNorm2d::forward(const Tensor& x) {
  check(x.defined() && x.rank() == 4 && x.size(1) == args_.num_features, "InstanceNorm2d",
        "expected an input (N, {}, H, W); got {}.", args_.num_features, x.defined() ? x.shape().str() : "none");
  const Tensor mean = buffer("running_mean"), var = buffer("running_var");
  const bool use_input = training_ || !mean.defined() || !var.defined();
  return instance_norm(x, mean, var, parameter("weight"), parameter("bias"),
                       {.use_input_stats = use_input, .momentum = args_.options.momentum, .eps = args_.options.eps});
}

void InstanceNorm2d::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

}  // namespace cnnx
