// Layers without parameters that resize images or add borders. Included by nn.h.
#pragma once

#include "cnnx/layer.h"

namespace cnnx {

class CNNX_API Upsample : public Layer<UpsampleOptions> {
 public:
  using Args = UpsampleOptions;
  explicit Upsample(const UpsampleOptions& options);
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Upsample"; }
  void visit_fields(FieldVisitor& visitor) override;
};

struct Pad2dArgs {
  Shape padding = {0, 0, 0, 0};  ///< Left, right, top, bottom, as in torch; or one number for all.
};
class CNNX_API ZeroPad2d : public Layer<Pad2dArgs> {
 public:
  using Args = Pad2dArgs;
  explicit ZeroPad2d(const std::same_as<Args> auto& args) : ZeroPad2d(args.padding) {}
  explicit ZeroPad2d(const Shape& padding);
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "ZeroPad2d"; }
  void visit_fields(FieldVisitor& visitor) override;
};
class CNNX_API ReflectionPad2d : public Layer<Pad2dArgs> {
 public:
  using Args = Pad2dArgs;
  explicit ReflectionPad2d(const std::same_as<Args> auto& args) : ReflectionPad2d(args.padding) {}
  explicit ReflectionPad2d(const Shape& padding);
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "ReflectionPad2d"; }
  void visit_fields(FieldVisitor& visitor) override;
};

}  // namespace cnnx
