// The layers beside Conv2d that slide filters over images. Included by nn.h.
#pragma once

#include "cnnx/layer.h"

namespace cnnx {

struct ConvTranspose2dOptions {
  Pair stride = 1;
  Padding padding = 0;
  Pair output_padding = 0;
  int64_t groups = 1;
  bool bias = true;
  Pair dilation = 1;
  DType dtype = DType::kFloat32;
};
struct ConvTranspose2dArgs {
  int64_t in_channels = 1;
  int64_t out_channels = 1;
  Pair kernel_size = 1;
  ConvTranspose2dOptions options = {};
};
class CNNX_API ConvTranspose2d : public Layer<ConvTranspose2dArgs> {
 public:
  using Args = ConvTranspose2dArgs;
  explicit ConvTranspose2d(const std::same_as<Args> auto& args)
      : ConvTranspose2d(args.in_channels, args.out_channels, args.kernel_size, args.options) {}
  ConvTranspose2d(int64_t in_channels, int64_t out_channels, Pair kernel_size,
                  const ConvTranspose2dOptions& options = {});
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "ConvTranspose2d"; }
  void visit_fields(FieldVisitor& visitor) override;
  Tensor weight() const { return parameter("weight"); }
  Tensor bias() const { return parameter("bias"); }
};

struct LocallyConnected2dOptions {
  Pair stride = 1;
  Padding padding = 0;
  Pair dilation = 1;
  bool bias = true;
  Fit fit = Fit::kDefault;  ///< Follows the global mode of the time of construction: the weights depend on it.
  DType dtype = DType::kFloat32;
};
struct LocallyConnected2dArgs {
  int64_t in_channels = 1;
  int64_t out_channels = 1;
  Pair kernel_size = 1;
  Pair input_size = 1;
  LocallyConnected2dOptions options = {};
};
/// A Conv2d with filters of its own at every output position, hence for images of one size only.
class CNNX_API LocallyConnected2d : public Layer<LocallyConnected2dArgs> {
 public:
  using Args = LocallyConnected2dArgs;
  explicit LocallyConnected2d(const std::same_as<Args> auto& args)
      : LocallyConnected2d(args.in_channels, args.out_channels, args.kernel_size, args.input_size, args.options) {}
  LocallyConnected2d(int64_t in_channels, int64_t out_channels, Pair kernel_size, Pair input_size,
                     const LocallyConnected2dOptions& options = {});
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "LocallyConnected2d"; }
  void visit_fields(FieldVisitor& visitor) override;
  Tensor weight() const { return parameter("weight"); }
  Tensor bias() const { return parameter("bias"); }
};

}  // namespace cnnx
