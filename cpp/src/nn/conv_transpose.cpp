// ConvTranspose2d.
#include "nn/filters.h"

namespace cnnx {

void visit(FieldVisitor& visitor, ConvTranspose2dArgs& args) { visit_filters(visitor, args); }

ConvTranspose2d::ConvTranspose2d(int64_t in_channels, int64_t out_channels, Pair kernel_size,
                                 const ConvTranspose2dOptions& options)
    : Layer(Args{in_channels, out_channels, kernel_size, options}) {
  constexpr const char* kOp = "ConvTranspose2d";
  check_filters(kOp, args_);
  check(!options.padding.is_same, kOp, "padding=\"same\" has no meaning here. Give the padding as a number.");
  check(std::min(options.output_padding.h, options.output_padding.w) >= 0, kOp,
        "output_padding must not be negative; got {}.", options.output_padding);
  register_filters(*this, {in_channels, out_channels / options.groups, kernel_size.h, kernel_size.w},
                   options.bias ? Shape{out_channels} : Shape{}, options.dtype);
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
