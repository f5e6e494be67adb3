// Conv2d.
#include "nn/filters.h"

namespace cnnx {

void visit(FieldVisitor& visitor, Conv2dArgs& args) { visit_filters(visitor, args); }

Conv2d::Conv2d(int64_t in_channels, int64_t out_channels, Pair kernel_size, const Conv2dOptions& options)
    : Layer(Args{in_channels, out_channels, kernel_size, options}) {
  constexpr const char* kOp = "Conv2d";
  check_filters(kOp, args_);
  check(!options.padding.is_same || options.stride == Pair(1), kOp,
        "padding=\"same\" needs stride 1; got {}. Give the padding as a number.", options.stride);
  register_filters(*this, {out_channels, in_channels / options.groups, kernel_size.h, kernel_size.w},
                   options.bias ? Shape{out_channels} : Shape{}, options.dtype);
}

ConvOptions Conv2d::conv_options() const {
  const Conv2dOptions& o = args_.options;
  return {o.stride, o.padding, o.dilation, o.groups, o.fit};
}

Tensor Conv2d::forward(const Tensor& x) { return conv2d(x, weight(), bias(), conv_options()); }

void Conv2d::visit_fields(FieldVisitor& visitor) {
  args_.options.bias = bias().defined();  // it may have been removed or added since
  visit(visitor, args_);
}

}  // namespace cnnx
