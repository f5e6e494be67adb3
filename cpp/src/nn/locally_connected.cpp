// LocallyConnected2d.
#include "check.h"
#include "nn/fields.h"
#include "nn/init.h"
#include "ops/window.h"

namespace cnnx {

void visit(FieldVisitor& visitor, LocallyConnected2dArgs& args) {
  visitor.field("in_channels", args.in_channels);
  visitor.field("out_channels", args.out_channels);
  visitor.field("kernel_size", args.kernel_size);
  visitor.field("input_size", args.input_size);
  visitor.field("stride", args.options.stride);
  visitor.field("padding", args.options.padding);
  visitor.field("dilation", args.options.dilation);
  visitor.field("bias", args.options.bias);
  visitor.field("fit", args.options.fit);
  visitor.field("dtype", args.options.dtype);
}

LocallyConnected2d::LocallyConnected2d(int64_t in_channels, int64_t out_channels, Pair kernel_size, Pair input_size,
                                       const LocallyConnected2dOptions& options)
    : Layer(Args{in_channels, out_channels, kernel_size, input_size, options}) {
  constexpr const char* kOp = "LocallyConnected2d";
  LocallyConnected2dOptions& o = args_.options;
  check_positive(kOp, "in_channels", in_channels);
  check_positive(kOp, "out_channels", out_channels);
  check_positive(kOp, "input_size", std::min(input_size.h, input_size.w));
  if (o.fit == Fit::kDefault) o.fit = fit_mode();
  const Window2d window =
      make_window2d(kOp, input_size.h, input_size.w, kernel_size, o.stride, o.dilation, o.padding, o.fit);
  const Shape shape{window.h.output, window.w.output, out_channels, in_channels, kernel_size.h, kernel_size.w};
  const double fan_in =
      static_cast<double>(in_channels) * static_cast<double>(kernel_size.h) * static_cast<double>(kernel_size.w);
  register_parameter("weight", default_parameter(shape, fan_in, o.dtype));
  register_parameter("bias",
                     o.bias ? default_parameter({out_channels, shape[0], shape[1]}, fan_in, o.dtype) : Tensor());
}

Tensor LocallyConnected2d::forward(const Tensor& x) {
  const LocallyConnected2dOptions& o = args_.options;
  return locally_connected2d(x, weight(), bias(), {o.stride, o.padding, o.dilation, o.fit});
}

void LocallyConnected2d::visit_fields(FieldVisitor& visitor) {
  args_.options.bias = bias().defined();  // it may have been removed or added since
  visit(visitor, args_);
}

}  // namespace cnnx
