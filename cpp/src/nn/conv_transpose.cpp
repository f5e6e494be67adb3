// ConvTranspose2d.
#include "check.h"
#include "nn/fields.h"
#include "nn/init.h"

namespace cnnx {

void visit(FieldVisitor& visitor, ConvTranspose2dArgs& args) {
  visitor.field("in_channels", args.in_channels);
  visitor.field("out_channels", args.out_channels);
  visitor.field("kernel_size", args.kernel_size);
  visitor.field("stride", args.options.stride);
  visitor.field("padding", args.options.padding);
  visitor.field("output_padding", args.options.output_padding);
  visitor.field("groups", args.options.groups);
  visitor.field("bias", args.options.bias);
  visitor.field("dilation", args.options.dilation);
  visitor.field("dtype", args.options.dtype);
}

ConvTranspose2d::ConvTranspose2d(int64_t in_channels, int64_t out_channels, Pair kernel_size,
                                 const ConvTranspose2dOptions& options)
    : Layer(Args{in_channels, out_channels, kernel_size, options}) {
  constexpr const char* kOp = "ConvTranspose2d";
  check_positive(kOp, "in_channels", in_channels);
  check_positive(kOp, "out_channels", out_channels);
  check_positive(kOp, "groups", options.groups);
  for (const auto& [name, pair] : {std::pair("kernel_size", kernel_size), std::pair("stride", options.stride),
                                   std::pair("dilation", options.dilation)}) {
    check_positive(kOp, name, std::min(pair.h, pair.w));
  }
  const Padding& padding = options.padding;
  check(!padding.is_same, kOp, "padding=\"same\" has no meaning here. Give the padding as a number.");
  check(std::min({padding.top, padding.bottom, padding.left, padding.right, options.output_padding.h,
                  options.output_padding.w}) >= 0,
        kOp, "padding and output_padding must not be negative; got ({}, {}, {}, {}) and {}.", padding.top,
        padding.bottom, padding.left, padding.right, options.output_padding);
  check(in_channels % options.groups == 0 && out_channels % options.groups == 0, kOp,
        "groups must divide in_channels and out_channels; got groups {}, in_channels {}, out_channels {}.",
        options.groups, in_channels, out_channels);
  const Shape shape{in_channels, out_channels / options.groups, kernel_size.h, kernel_size.w};
  const double fan_in = static_cast<double>(shape[1]) * static_cast<double>(shape[2]) * static_cast<double>(shape[3]);
  register_parameter("weight", default_parameter(shape, fan_in, options.dtype));
  register_parameter("bias", options.bias ? default_parameter({out_channels}, fan_in, options.dtype) : Tensor());
}

Tensor ConvTranspose2d::forward(const Tensor& x) {
  const ConvTranspose2dOptions& o = args_.options;
  return conv_transpose2d(x, weight(), bias(), {o.stride, o.padding, o.output_padding, o.groups, o.dilation});
}

void ConvTranspose2d::visit_fields(FieldVisitor& visitor) {
  args_.options.bias = bias().defined();  // it may have been removed or added since
  visit(visitor, args_);
}

}  // namespace cnnx
