// The normalization layers that look at one image at a time. Included by nn.h.
#pragma once

#include "cnnx/layer.h"

namespace cnnx {

struct GroupNormOptions {
  double eps = 1e-5;
  bool affine = true;
  DType dtype = DType::kFloat32;
};
struct GroupNormArgs {
  int64_t num_groups = 1;
  int64_t num_channels = 1;
  GroupNormOptions options = {};
};
class CNNX_API GroupNorm : public Layer<GroupNormArgs> {
 public:
  using Args = GroupNormArgs;
  explicit GroupNorm(const std::same_as<Args> auto& args)
      : GroupNorm(args.num_groups, args.num_channels, args.options) {}
  GroupNorm(int64_t num_groups, int64_t num_channels, const GroupNormOptions& options = {});
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "GroupNorm"; }
  void visit_fields(FieldVisitor& visitor) override;
};

struct LayerNormOptions {
  double eps = 1e-5;
  bool elementwise_affine = true;
  bool bias = true;
  DType dtype = DType::kFloat32;
};
struct LayerNormArgs {
  Shape normalized_shape = {1};
  LayerNormOptions options = {};
};
class CNNX_API LayerNorm : public Layer<LayerNormArgs> {
 public:
  using Args = LayerNormArgs;
  explicit LayerNorm(const std::same_as<Args> auto& args) : LayerNorm(args.normalized_shape, args.options) {}
  explicit LayerNorm(const Shape& normalized_shape, const LayerNormOptions& options = {});
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "LayerNorm"; }
  void visit_fields(FieldVisitor& visitor) override;
};

struct InstanceNorm2dOptions {
  double eps = 1e-5;
  double momentum = 0.1;
  bool affine = false;
  bool track_running_stats = false;
  DType dtype = DType::kFloat32;
};
struct InstanceNorm2dArgs {
  int64_t num_features = 1;
  InstanceNorm2dOptions options = {};
};
class CNNX_API InstanceNorm2d : public Layer<InstanceNorm2dArgs> {
 public:
  using Args = InstanceNorm2dArgs;
  explicit InstanceNorm2d(const std::same_as<Args> auto& args) : InstanceNorm2d(args.num_features, args.options) {}
  explicit InstanceNorm2d(int64_t num_features, const InstanceNorm2dOptions& options = {});
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "InstanceNorm2d"; }
  void visit_fields(FieldVisitor& visitor) override;
};

}  // namespace cnnx
