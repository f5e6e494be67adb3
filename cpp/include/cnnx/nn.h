// The layers, the losses as modules, and weight initialisation. Names, argument order and defaults are torch.nn's.
//
//   cnnx::Sequential net(cnnx::Conv2d(1, 8, 3, {.padding = 1}), cnnx::ReLU(), cnnx::Flatten(), cnnx::Linear(512, 10));
//   cnnx::Tensor scores = net(images);
#pragma once

#include "cnnx/layer.h"
#include "cnnx/loss.h"
#include "cnnx/nn_convolution.h"
#include "cnnx/nn_normalization.h"
#include "cnnx/nn_resampling.h"

namespace cnnx {

// ---- Convolution and linear
struct Conv2dOptions {
  Pair stride = 1;
  Padding padding = 0;
  Pair dilation = 1;
  int64_t groups = 1;
  bool bias = true;
  Fit fit = Fit::kDefault;
  DType dtype = DType::kFloat32;
};
struct Conv2dArgs {
  int64_t in_channels = 1;
  int64_t out_channels = 1;
  Pair kernel_size = 1;
  Conv2dOptions options = {};
};
class CNNX_API Conv2d : public Layer<Conv2dArgs> {
 public:
  using Args = Conv2dArgs;
  explicit Conv2d(const std::same_as<Args> auto& args)
      : Conv2d(args.in_channels, args.out_channels, args.kernel_size, args.options) {}
  Conv2d(int64_t in_channels, int64_t out_channels, Pair kernel_size, const Conv2dOptions& options = {});
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Conv2d"; }
  void visit_fields(FieldVisitor& visitor) override;
  Tensor weight() const { return parameter("weight"); }
  Tensor bias() const { return parameter("bias"); }
  ConvOptions conv_options() const;
};

struct LinearOptions {
  bool bias = true;
  DType dtype = DType::kFloat32;
};
struct LinearArgs {
  int64_t in_features = 1;
  int64_t out_features = 1;
  LinearOptions options = {};
};
class CNNX_API Linear : public Layer<LinearArgs> {
 public:
  using Args = LinearArgs;
  explicit Linear(const std::same_as<Args> auto& args) : Linear(args.in_features, args.out_features, args.options) {}
  Linear(int64_t in_features, int64_t out_features, const LinearOptions& options = {});
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Linear"; }
  void visit_fields(FieldVisitor& visitor) override;
  Tensor weight() const { return parameter("weight"); }
  Tensor bias() const { return parameter("bias"); }
};

// ---- Pooling
struct MaxPool2dArgs {
  Pair kernel_size = 1;
  MaxPoolOptions options = {};
};
class CNNX_API MaxPool2d : public Layer<MaxPool2dArgs> {
 public:
  using Args = MaxPool2dArgs;
  explicit MaxPool2d(const std::same_as<Args> auto& args) : MaxPool2d(args.kernel_size, args.options) {}
  explicit MaxPool2d(Pair kernel_size, const MaxPoolOptions& options = {});
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "MaxPool2d"; }
  void visit_fields(FieldVisitor& visitor) override;
};

struct AvgPool2dArgs {
  Pair kernel_size = 1;
  AvgPoolOptions options = {};
};
class CNNX_API AvgPool2d : public Layer<AvgPool2dArgs> {
 public:
  using Args = AvgPool2dArgs;
  explicit AvgPool2d(const std::same_as<Args> auto& args) : AvgPool2d(args.kernel_size, args.options) {}
  explicit AvgPool2d(Pair kernel_size, const AvgPoolOptions& options = {});
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "AvgPool2d"; }
  void visit_fields(FieldVisitor& visitor) override;
};

struct LPPool2dArgs {
  double norm_type = 2;
  Pair kernel_size = 1;
  LPPoolOptions options = {};
};
class CNNX_API LPPool2d : public Layer<LPPool2dArgs> {
 public:
  using Args = LPPool2dArgs;
  explicit LPPool2d(const std::same_as<Args> auto& args) : LPPool2d(args.norm_type, args.kernel_size, args.options) {}
  LPPool2d(double norm_type, Pair kernel_size, const LPPoolOptions& options = {});
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "LPPool2d"; }
  void visit_fields(FieldVisitor& visitor) override;
};

struct AdaptivePool2dArgs {
  Pair output_size = 1;
};
class CNNX_API AdaptiveAvgPool2d : public Layer<AdaptivePool2dArgs> {
 public:
  using Args = AdaptivePool2dArgs;
  explicit AdaptiveAvgPool2d(const std::same_as<Args> auto& args) : AdaptiveAvgPool2d(args.output_size) {}
  explicit AdaptiveAvgPool2d(Pair output_size);
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "AdaptiveAvgPool2d"; }
  void visit_fields(FieldVisitor& visitor) override;
};
class CNNX_API AdaptiveMaxPool2d : public Layer<AdaptivePool2dArgs> {
 public:
  using Args = AdaptivePool2dArgs;
  explicit AdaptiveMaxPool2d(const std::same_as<Args> auto& args) : AdaptiveMaxPool2d(args.output_size) {}
  explicit AdaptiveMaxPool2d(Pair output_size);
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "AdaptiveMaxPool2d"; }
  void visit_fields(FieldVisitor& visitor) override;
};

// ---- Shape, regularisation, normalization
struct FlattenArgs {
  int64_t start_dim = 1;
  int64_t end_dim = -1;
};
class CNNX_API Flatten : public Layer<FlattenArgs> {
 public:
  using Args = FlattenArgs;
  explicit Flatten(const std::same_as<Args> auto& args) : Flatten(args.start_dim, args.end_dim) {}
  explicit Flatten(int64_t start_dim = 1, int64_t end_dim = -1) : Layer(Args{start_dim, end_dim}) {}
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Flatten"; }
  void visit_fields(FieldVisitor& visitor) override;
};

struct DropoutArgs {
  double p = 0.5;
};
class CNNX_API Dropout : public Layer<DropoutArgs> {
 public:
  using Args = DropoutArgs;
  explicit Dropout(const std::same_as<Args> auto& args) : Dropout(args.p) {}
  explicit Dropout(double p = 0.5);
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Dropout"; }
  void visit_fields(FieldVisitor& visitor) override;
};

/// Dropout of whole channels.
class CNNX_API Dropout2d : public Layer<DropoutArgs> {
 public:
  using Args = DropoutArgs;
  explicit Dropout2d(const std::same_as<Args> auto& args) : Dropout2d(args.p) {}
  explicit Dropout2d(double p = 0.5);
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Dropout2d"; }
  void visit_fields(FieldVisitor& visitor) override;
};

struct BatchNorm2dOptions {
  double eps = 1e-5;
  double momentum = 0.1;
  bool affine = true;
  bool track_running_stats = true;
  DType dtype = DType::kFloat32;
};
struct BatchNorm2dArgs {
  int64_t num_features = 1;
  BatchNorm2dOptions options = {};
};
class CNNX_API BatchNorm2d : public Layer<BatchNorm2dArgs> {
 public:
  using Args = BatchNorm2dArgs;
  explicit BatchNorm2d(const std::same_as<Args> auto& args) : BatchNorm2d(args.num_features, args.options) {}
  explicit BatchNorm2d(int64_t num_features, const BatchNorm2dOptions& options = {});
  Tensor forward(const Tensor& x) override { return forward(x, {}, false); }
  /// The same, then a residual of x's shape added if it is defined, then perhaps ReLU, all in one pass.
  Tensor forward(const Tensor& x, const Tensor& residual, bool relu);
  /// Scale and shift (C) that stand for the layer while it uses its running statistics and nothing is recorded for its
  /// parameters; undefined otherwise.
  std::pair<Tensor, Tensor> evaluation_affine() const;
  std::string type_name() const override { return "BatchNorm2d"; }
  void visit_fields(FieldVisitor& visitor) override;
};

struct LocalResponseNormArgs {
  int64_t size = 5;
  LocalResponseNormOptions options = {};
};
class CNNX_API LocalResponseNorm : public Layer<LocalResponseNormArgs> {
 public:
  using Args = LocalResponseNormArgs;
  explicit LocalResponseNorm(const std::same_as<Args> auto& args) : LocalResponseNorm(args.size, args.options) {}
  explicit LocalResponseNorm(int64_t size, const LocalResponseNormOptions& options = {});
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "LocalResponseNorm"; }
  void visit_fields(FieldVisitor& visitor) override;
};

// ---- Activations
struct NoArgs {};
class CNNX_API Identity : public Layer<NoArgs> {
 public:
  using Args = NoArgs;
  Identity() : Layer(Args{}) {}
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Identity"; }
};
class CNNX_API ReLU : public Layer<NoArgs> {
 public:
  using Args = NoArgs;
  ReLU() : Layer(Args{}) {}
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "ReLU"; }
};
class CNNX_API Sigmoid : public Layer<NoArgs> {
 public:
  using Args = NoArgs;
  Sigmoid() : Layer(Args{}) {}
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Sigmoid"; }
};
class CNNX_API Tanh : public Layer<NoArgs> {
 public:
  using Args = NoArgs;
  Tanh() : Layer(Args{}) {}
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Tanh"; }
};
class CNNX_API SiLU : public Layer<NoArgs> {
 public:
  using Args = NoArgs;
  SiLU() : Layer(Args{}) {}
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "SiLU"; }
};

struct LeakyReLUArgs {
  double negative_slope = 0.01;
};
class CNNX_API LeakyReLU : public Layer<LeakyReLUArgs> {
 public:
  using Args = LeakyReLUArgs;
  explicit LeakyReLU(const std::same_as<Args> auto& args) : LeakyReLU(args.negative_slope) {}
  explicit LeakyReLU(double negative_slope = 0.01) : Layer(Args{negative_slope}) {}
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "LeakyReLU"; }
  void visit_fields(FieldVisitor& visitor) override;
};

struct GELUArgs {
  std::string approximate = "none";  ///< "none" or "tanh".
};
class CNNX_API GELU : public Layer<GELUArgs> {
 public:
  using Args = GELUArgs;
  explicit GELU(const std::same_as<Args> auto& args) : GELU(args.approximate) {}
  explicit GELU(const std::string& approximate = "none");
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "GELU"; }
  void visit_fields(FieldVisitor& visitor) override;
};

struct SoftmaxArgs {
  int64_t dim = -1;
};
class CNNX_API Softmax : public Layer<SoftmaxArgs> {
 public:
  using Args = SoftmaxArgs;
  explicit Softmax(const std::same_as<Args> auto& args) : Softmax(args.dim) {}
  explicit Softmax(int64_t dim = -1) : Layer(Args{dim}) {}
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Softmax"; }
  void visit_fields(FieldVisitor& visitor) override;
};

class CNNX_API LogSoftmax : public Layer<SoftmaxArgs> {
 public:
  using Args = SoftmaxArgs;
  explicit LogSoftmax(const std::same_as<Args> auto& args) : LogSoftmax(args.dim) {}
  explicit LogSoftmax(int64_t dim = -1) : Layer(Args{dim}) {}
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "LogSoftmax"; }
  void visit_fields(FieldVisitor& visitor) override;
};

// ---- Containers beside Sequential

/// The residual block of He et al. (2015): ReLU of its body, applied in order, plus a shortcut. The shortcut is the
/// child "downsample", or the input itself.
class CNNX_API Residual : public Container {
 public:
  static constexpr const char* kShortcut = "downsample";
  Residual() = default;
  explicit Residual(NamedModules body, std::shared_ptr<Module> downsample = nullptr);
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Residual"; }
};

/// Applies every module to the same input and joins the results along the channels, as in GoogLeNet's Inception.
class CNNX_API Concat : public Container {
 public:
  Concat() = default;
  explicit Concat(NamedModules modules) : Container(std::move(modules)) {}
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Concat"; }
};

// ---- Losses: called with (input, target); see loss.h for the arguments
class CNNX_API Loss : public Module {
 public:
  using Module::forward;
  virtual Tensor forward(const Tensor& input, const Tensor& target) = 0;
  Tensor operator()(const Tensor& input, const Tensor& target) { return forward(input, target); }
  std::string extra_repr() override { return {}; }  // as torch
};

/// options.weight becomes the buffer "weight".
class CNNX_API CrossEntropyLoss : public Loss {
 public:
  explicit CrossEntropyLoss(const CrossEntropyOptions& options = {});
  using Loss::forward;
  Tensor forward(const Tensor& input, const Tensor& target) override;
  std::string type_name() const override { return "CrossEntropyLoss"; }
  void visit_fields(FieldVisitor& visitor) override;

 private:
  CrossEntropyOptions options_;
};

/// options.weight becomes the buffer "weight".
class CNNX_API MultiMarginLoss : public Loss {
 public:
  explicit MultiMarginLoss(const MultiMarginOptions& options = {});
  using Loss::forward;
  Tensor forward(const Tensor& input, const Tensor& target) override;
  std::string type_name() const override { return "MultiMarginLoss"; }
  void visit_fields(FieldVisitor& visitor) override;

 private:
  MultiMarginOptions options_;
};

class CNNX_API MSELoss : public Loss {
 public:
  explicit MSELoss(Reduction reduction = Reduction::kMean) : reduction_(reduction) {}
  using Loss::forward;
  Tensor forward(const Tensor& input, const Tensor& target) override;
  std::string type_name() const override { return "MSELoss"; }
  void visit_fields(FieldVisitor& visitor) override;

 private:
  Reduction reduction_;
};

// ---- Initialisation: fills a tensor in place, as torch.nn.init
namespace init {
CNNX_API void constant_(Tensor& tensor, double value);
CNNX_API void uniform_(Tensor& tensor, double low = 0, double high = 1);
CNNX_API void normal_(Tensor& tensor, double mean = 0, double std = 1);
/// Glorot and Bengio (2010): variance 2 / (fan_in + fan_out), times gain squared.
CNNX_API void xavier_uniform_(Tensor& tensor, double gain = 1);
CNNX_API void xavier_normal_(Tensor& tensor, double gain = 1);
/// He et al. (2015): variance 2 / ((1 + a^2) fan); a is the negative slope of the leaky ReLU that follows.
struct KaimingOptions {
  double a = 0;
  std::string mode = "fan_in";              ///< or "fan_out"
  std::string nonlinearity = "leaky_relu";  ///< or "relu", "linear", "sigmoid", "tanh", "conv2d", "selu"
};
CNNX_API void kaiming_uniform_(Tensor& tensor, const KaimingOptions& options = {});
CNNX_API void kaiming_normal_(Tensor& tensor, const KaimingOptions& options = {});
/// The factor by which a nonlinearity asks for larger weights, as torch.nn.init.calculate_gain.
CNNX_API double calculate_gain(const std::string& nonlinearity, double a = 0.01);

/// While one lives, layers made on this thread leave their weights uninitialised and the generator untouched: for
/// models whose weights are loaded next.
class CNNX_API SkipGuard {
 public:
  SkipGuard();
  ~SkipGuard();
  SkipGuard(const SkipGuard&) = delete;
  SkipGuard& operator=(const SkipGuard&) = delete;

 private:
  bool previous_;
};
}  // namespace init

}  // namespace cnnx
