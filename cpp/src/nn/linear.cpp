// Linear.
#include "check.h"
#include "nn/fields.h"
#include "nn/init.h"

namespace cnnx {

void visit(FieldVisitor& visitor, LinearArgs& args) {
  visitor.field("in_features", args.in_features);
  visitor.field("out_features", args.out_features);
  visitor.field("bias", args.options.bias);
  visitor.field("dtype", args.options.dtype);
}

Linear::Linear(int64_t in_features, int64_t out_features, const LinearOptions& options)
    : Layer(Args{in_features, out_features, options}) {
  check_positive("Linear", "in_features", in_features);
  check_positive("Linear", "out_features", out_features);
  const auto fan_in = static_cast<double>(in_features);
  register_parameter("weight", default_parameter({out_features, in_features}, fan_in, options.dtype));
  register_parameter("bias", options.bias ? default_parameter({out_features}, fan_in, options.dtype) : Tensor());
}

Tensor Linear::forward(const Tensor& x) { return linear(x, weight(), bias()); }

void Linear::visit_fields(FieldVisitor& visitor) {
  args_.options.bias = bias().defined();  // it may have been removed or added since
  visit(visitor, args_);
}

}  // namespace cnnx
