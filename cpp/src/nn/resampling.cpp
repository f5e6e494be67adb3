// Upsample, ZeroPad2d and ReflectionPad2d.
#include <algorithm>

#include "check.h"
#include "nn/fields.h"

namespace cnnx {

void visit(FieldVisitor& visitor, UpsampleOptions& args) {
  visitor.field("size", args.size);
  visitor.field("scale_factor", args.scale_factor);
  visitor.field("mode", args.mode);
  visitor.field("align_corners", args.align_corners);
}

Upsample::Upsample(const UpsampleOptions& options) : Layer(options) {
  constexpr const char* kOp = "Upsample";
  check(options.size.has_value() != options.scale_factor.has_value(), kOp,
        "expected either size or scale_factor; got {}.", options.size ? "both" : "neither");
  check(options.mode == "nearest" || options.mode == "bilinear", kOp,
        "mode must be \"nearest\" or \"bilinear\"; got \"{}\".", options.mode);
  check(options.mode == "bilinear" || !options.align_corners, kOp, "align_corners needs mode=\"bilinear\".");
}
Tensor Upsample::forward(const Tensor& x) { return upsample(x, args_); }
void Upsample::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

void visit(FieldVisitor& visitor, Pad2dArgs& args) { visitor.field("padding", args.padding); }

namespace {

/// Left, right, top, bottom.
Shape four_borders(const char* op, const Shape& padding) {
  check(padding.rank() == 1 || padding.rank() == 4, op, "expected one padding or (left, right, top, bottom); got {}.",
        padding);
  const Shape four = padding.rank() == 4 ? padding : Shape{padding[0], padding[0], padding[0], padding[0]};
  check(*std::min_element(four.begin(), four.end()) >= 0, op, "padding must not be negative; got {}.", four);
  return four;
}

Tensor pad_images(const char* op, const Tensor& x, const Shape& padding, PadMode mode) {
  check(x.defined() && (x.rank() == 4 || x.rank() == 3), op, "expected an input (N, C, H, W); got {}.",
        x.defined() ? x.shape().str() : "none");
  const Shape four = four_borders(op, padding);
  return pad(x, std::span(four.begin(), four.end()), 0, mode);
}

}  // namespace

ZeroPad2d::ZeroPad2d(const Shape& padding) : Layer(Args{four_borders("ZeroPad2d", padding)}) {}
Tensor ZeroPad2d::forward(const Tensor& x) { return pad_images("ZeroPad2d", x, args_.padding, PadMode::kConstant); }
void ZeroPad2d::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

ReflectionPad2d::ReflectionPad2d(const Shape& padding) : Layer(Args{four_borders("ReflectionPad2d", padding)}) {}
Tensor ReflectionPad2d::forward(const Tensor& x) {
  return pad_images("ReflectionPad2d", x, args_.padding, PadMode::kReflect);
}
void ReflectionPad2d::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

}  // namespace cnnx
