// Pooling layers. A stride that is not given becomes the kernel size on construction.
#include "check.h"
#include "nn/fields.h"
#include "nn/init.h"

namespace cnnx {

void visit(FieldVisitor& visitor, MaxPool2dArgs& args) {
  visitor.field("kernel_size", args.kernel_size);
  visitor.field("stride", args.options.stride);
  visitor.field("padding", args.options.padding);
  visitor.field("dilation", args.options.dilation);
  visitor.field("fit", args.options.fit);
}

void visit(FieldVisitor& visitor, AvgPool2dArgs& args) {
  visitor.field("kernel_size", args.kernel_size);
  visitor.field("stride", args.options.stride);
  visitor.field("padding", args.options.padding);
  visitor.field("fit", args.options.fit);
  visitor.field("count_include_pad", args.options.count_include_pad);
}

void visit(FieldVisitor& visitor, LPPool2dArgs& args) {
  visitor.field("norm_type", args.norm_type);
  visitor.field("kernel_size", args.kernel_size);
  visitor.field("stride", args.options.stride);
  visitor.field("fit", args.options.fit);
}

void visit(FieldVisitor& visitor, AdaptivePool2dArgs& args) { visitor.field("output_size", args.output_size); }

namespace {

/// The layer's arguments with the stride filled in, once kernel and stride are known to be good.
template <class Args>
Args with_stride(const char* op, Args args) {
  if (!args.options.stride) args.options.stride = args.kernel_size;
  check_positive(op, "kernel_size", std::min(args.kernel_size.h, args.kernel_size.w));
  check_positive(op, "stride", std::min(args.options.stride->h, args.options.stride->w));
  return args;
}

Pair checked_output(const char* op, Pair output_size) {
  check_positive(op, "output_size", std::min(output_size.h, output_size.w));
  return output_size;
}

}  // namespace

MaxPool2d::MaxPool2d(Pair kernel_size, const MaxPoolOptions& options)
    : Layer(with_stride("MaxPool2d", Args{kernel_size, options})) {}
Tensor MaxPool2d::forward(const Tensor& x) { return max_pool2d(x, args_.kernel_size, args_.options); }
void MaxPool2d::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

AvgPool2d::AvgPool2d(Pair kernel_size, const AvgPoolOptions& options)
    : Layer(with_stride("AvgPool2d", Args{kernel_size, options})) {}
Tensor AvgPool2d::forward(const Tensor& x) { return avg_pool2d(x, args_.kernel_size, args_.options); }
void AvgPool2d::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

LPPool2d::LPPool2d(double norm_type, Pair kernel_size, const LPPoolOptions& options)
    : Layer(with_stride("LPPool2d", Args{norm_type, kernel_size, options})) {}
Tensor LPPool2d::forward(const Tensor& x) { return lp_pool2d(x, args_.norm_type, args_.kernel_size, args_.options); }
void LPPool2d::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

AdaptiveAvgPool2d::AdaptiveAvgPool2d(Pair output_size)
    : Layer(Args{checked_output("AdaptiveAvgPool2d", output_size)}) {}
Tensor AdaptiveAvgPool2d::forward(const Tensor& x) { return adaptive_avg_pool2d(x, args_.output_size); }
void AdaptiveAvgPool2d::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

AdaptiveMaxPool2d::AdaptiveMaxPool2d(Pair output_size)
    : Layer(Args{checked_output("AdaptiveMaxPool2d", output_size)}) {}
Tensor AdaptiveMaxPool2d::forward(const Tensor& x) { return adaptive_max_pool2d(x, args_.output_size); }
void AdaptiveMaxPool2d::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

}  // namespace cnnx
