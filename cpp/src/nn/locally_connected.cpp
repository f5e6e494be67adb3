// LocallyConnected2d.
#include "nn/filters.h"
#include "ops/window.h"

namespace cnnx {

void visit(FieldVisitor& visitor, LocallyConnected2dArgs& args) { visit_filters(visitor, args); }

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
  register_filters(*this, shape, o.bias ? Shape{out_channels, shape[0], shape[1]} : Shape{}, o.dtype);
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
