// Every operation as a free function. Legend: N batch, C in channels, K out channels, H W input, R S kernel, OH OW
// output.
#pragma once

#include "cnnx/tensor.h"

namespace cnnx {

/// Height and width; one integer stands for both.
struct Pair {
  int64_t h = 1;
  int64_t w = 1;
  constexpr Pair() = default;
  constexpr Pair(int64_t both) : h(both), w(both) {}
  constexpr Pair(int64_t height, int64_t width) : h(height), w(width) {}
  bool operator==(const Pair&) const = default;
};

/// Rows and columns added around an image: an integer, (h, w), (top, bottom, left, right), same() or valid().
struct Padding {
  int64_t top = 0, bottom = 0, left = 0, right = 0;
  bool is_same =
      false;  ///< As much as keeps the size at stride 1; an odd total puts the extra row at the bottom/right.
  constexpr Padding() = default;
  constexpr Padding(int64_t all) : top(all), bottom(all), left(all), right(all) {}
  constexpr Padding(int64_t h, int64_t w) : top(h), bottom(h), left(w), right(w) {}
  constexpr Padding(int64_t t, int64_t b, int64_t l, int64_t r) : top(t), bottom(b), left(l), right(r) {}
  static constexpr Padding same() {
    Padding padding;
    padding.is_same = true;
    return padding;
  }
  static constexpr Padding valid() { return {}; }
  bool operator==(const Padding&) const = default;
};

/// A factor for the height and one for the width; one number stands for both.
struct Scale {
  double h = 1;
  double w = 1;
  constexpr Scale() = default;
  constexpr Scale(double both) : h(both), w(both) {}
  constexpr Scale(double height, double width) : h(height), w(width) {}
  bool operator==(const Scale&) const = default;
};

/// What happens when (W - F + 2P) / S is not an integer: crop, pad, or an error. kDefault follows the global fit mode.
enum class Fit : unsigned char { kDefault, kFloor, kCeil, kStrict };
CNNX_API Fit fit_mode();
CNNX_API void set_fit_mode(Fit fit);

// ---- Element-wise, with NumPy broadcasting -------------------------------------------------------------------------
CNNX_API Tensor add(const Tensor& a, const Tensor& b);
CNNX_API Tensor sub(const Tensor& a, const Tensor& b);
CNNX_API Tensor mul(const Tensor& a, const Tensor& b);
CNNX_API Tensor div(const Tensor& a, const Tensor& b);  ///< Integers divide to float32.
CNNX_API Tensor pow(const Tensor& a, const Tensor& b);
enum class Comparison : unsigned char { kEq, kNe, kLt, kLe, kGt, kGe };
CNNX_API Tensor compare(Comparison comparison, const Tensor& a, const Tensor& b);  ///< A bool tensor.
CNNX_API Tensor neg(const Tensor& x);
CNNX_API Tensor exp(const Tensor& x);
CNNX_API Tensor log(const Tensor& x);
CNNX_API Tensor sqrt(const Tensor& x);
CNNX_API Tensor abs(const Tensor& x);
CNNX_API Tensor clip(const Tensor& x, std::optional<Scalar> min, std::optional<Scalar> max);

using BinaryFunction = Tensor (*)(const Tensor&, const Tensor&);
/// fn(x, number), or fn(number, x) when reflected, for a number without a dtype: beside 16-bit values it is a float32
/// tensor, is not rounded, and does not make the result wider.
CNNX_API Tensor with_number(BinaryFunction fn, const Tensor& x, const Tensor& number, bool reflected = false);

inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator-(const Tensor& x) { return neg(x); }
CNNX_API Tensor operator+(const Tensor& a, Scalar b);
CNNX_API Tensor operator-(const Tensor& a, Scalar b);
CNNX_API Tensor operator*(const Tensor& a, Scalar b);
CNNX_API Tensor operator/(const Tensor& a, Scalar b);
CNNX_API Tensor operator+(Scalar a, const Tensor& b);
CNNX_API Tensor operator-(Scalar a, const Tensor& b);
CNNX_API Tensor operator*(Scalar a, const Tensor& b);
CNNX_API Tensor operator/(Scalar a, const Tensor& b);

// ---- Activations
CNNX_API Tensor relu(const Tensor& x);
CNNX_API Tensor add_relu(const Tensor& a, const Tensor& b);  ///< relu(a + b) for equal shapes, in one pass.
CNNX_API Tensor leaky_relu(const Tensor& x, double negative_slope = 0.01);
CNNX_API Tensor sigmoid(const Tensor& x);
CNNX_API Tensor tanh(const Tensor& x);
CNNX_API Tensor gelu(const Tensor& x, bool tanh_approximation = false);
CNNX_API Tensor silu(const Tensor& x);
CNNX_API Tensor softmax(const Tensor& x, int axis = -1);
CNNX_API Tensor log_softmax(const Tensor& x, int axis = -1);

// ---- Reductions; empty axes mean all
CNNX_API Tensor sum(const Tensor& x, std::span<const int> axes = {}, bool keepdim = false);
CNNX_API Tensor mean(const Tensor& x, std::span<const int> axes = {}, bool keepdim = false);
CNNX_API Tensor max(const Tensor& x, std::span<const int> axes = {}, bool keepdim = false);
CNNX_API Tensor min(const Tensor& x, std::span<const int> axes = {}, bool keepdim = false);
CNNX_API Tensor argmax(const Tensor& x, std::optional<int> axis = std::nullopt, bool keepdim = false);

// ---- Shape
CNNX_API Tensor concat(std::span<const Tensor> tensors, int axis = 0);
enum class PadMode : unsigned char { kConstant, kReflect };
/// Adds (before, after) values to each of the last axes; padding is given last axis first, as in torch. They are
/// `value`, or, with kReflect (the last two axes only), what lies as far inside the border.
CNNX_API Tensor pad(const Tensor& x, std::span<const int64_t> padding, Scalar value = 0,
                    PadMode mode = PadMode::kConstant);
struct UpsampleOptions {
  std::optional<Pair> size = std::nullopt;  ///< Of the output; or:
  std::optional<Scale> scale_factor = std::nullopt;
  std::string mode = "nearest";  ///< or "bilinear"
  bool align_corners = false;    ///< bilinear only: the corner pixels of input and output coincide.
};
/// Resizes images (N, C, H, W) to the given size or by the given factors.
CNNX_API Tensor upsample(const Tensor& x, const UpsampleOptions& options);

// ---- Linear algebra
CNNX_API Tensor matmul(const Tensor& a, const Tensor& b);
/// x (..., in) times weight (out, in) transposed, plus bias (out).
CNNX_API Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

// ---- Convolution
struct ConvOptions {
  Pair stride = 1;
  Padding padding = 0;
  Pair dilation = 1;
  int64_t groups = 1;
  Fit fit = Fit::kDefault;
};
/// x (N, C, H, W), weight (K, C / groups, R, S), bias (K) -> (N, K, OH, OW).
CNNX_API Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const ConvOptions& options = {});
struct ConvTransposeOptions {
  Pair stride = 1;
  Padding padding = 0;
  Pair output_padding = 0;
  int64_t groups = 1;
  Pair dilation = 1;
};
/// The gradient of conv2d with respect to its input, as a layer: x (N, C, H, W), weight (C, K / groups, R, S), bias (K)
/// -> (N, K, OH, OW), OH = (H - 1) * stride - padding + dilation * (R - 1) + output_padding + 1.
CNNX_API Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                                 const ConvTransposeOptions& options = {});
struct WindowOptions {
  Pair stride = 1;
  Padding padding = 0;
  Pair dilation = 1;
  Fit fit = Fit::kDefault;
};
/// conv2d with filters of its own at every output position (untied weights): x (N, C, H, W), weight (OH, OW, K, C, R,
/// S), bias (K, OH, OW) -> (N, K, OH, OW).
CNNX_API Tensor locally_connected2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                                    const WindowOptions& options = {});
/// The windows of images (N, C, H, W) as columns (N, C * R * S, OH * OW), as torch's unfold.
CNNX_API Tensor im2col(const Tensor& x, Pair kernel_size, const WindowOptions& options = {});
/// Adds such columns up to images (N, C, *output_size), as torch's fold: the transpose of im2col.
CNNX_API Tensor col2im(const Tensor& columns, Pair output_size, Pair kernel_size, const WindowOptions& options = {});
/// Pins one convolution algorithm by name for the geometries it accepts; "auto" chooses by geometry.
CNNX_API void set_conv_algorithm(std::string_view name);
CNNX_API std::string conv_algorithm();
CNNX_API std::vector<std::string> conv_algorithms();

// ---- Pooling: x (N, C, H, W) -> (N, C, OH, OW); stride defaults to kernel_size
struct MaxPoolOptions {
  std::optional<Pair> stride = std::nullopt;
  Padding padding = 0;
  Pair dilation = 1;
  Fit fit = Fit::kDefault;
};
struct AvgPoolOptions {
  std::optional<Pair> stride = std::nullopt;
  Padding padding = 0;
  Fit fit = Fit::kDefault;
  bool count_include_pad = true;
};
struct LPPoolOptions {
  std::optional<Pair> stride = std::nullopt;
  Fit fit = Fit::kDefault;
};
CNNX_API Tensor max_pool2d(const Tensor& x, Pair kernel_size, const MaxPoolOptions& options = {});
CNNX_API Tensor avg_pool2d(const Tensor& x, Pair kernel_size, const AvgPoolOptions& options = {});
/// (sum over the window of |x|^p)^(1/p).
CNNX_API Tensor lp_pool2d(const Tensor& x, double norm_type, Pair kernel_size, const LPPoolOptions& options = {});
CNNX_API Tensor adaptive_avg_pool2d(const Tensor& x, Pair output_size);
CNNX_API Tensor adaptive_max_pool2d(const Tensor& x, Pair output_size);

// ---- Normalization and regularisation
struct BatchNormOptions {
  bool training = false;
  double momentum = 0.1;  ///< Weight of the new statistics in the running ones.
  double eps = 1e-5;
};
/// Normalises over all axes but 1. In training the batch's statistics are used and the running ones (may be undefined)
/// updated in place with the unbiased variance; otherwise the running ones are used.
CNNX_API Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                           const Tensor& weight = {}, const Tensor& bias = {}, const BatchNormOptions& options = {});
/// Normalises each image (N, C, ...) over groups of its channels and all positions; weight and bias are (C).
CNNX_API Tensor group_norm(const Tensor& x, int64_t num_groups, const Tensor& weight = {}, const Tensor& bias = {},
                           double eps = 1e-5);
/// Normalises over the last axes, of lengths normalized_shape, which is the shape of weight and bias, too.
CNNX_API Tensor layer_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& weight = {},
                           const Tensor& bias = {}, double eps = 1e-5);
struct InstanceNormOptions {
  bool use_input_stats = true;
  double momentum = 0.1;  ///< Weight of the new statistics in the running ones.
  double eps = 1e-5;
};
/// Normalises each channel of each image (N, C, ...) over its positions. With use_input_stats the running statistics
/// (may be undefined) are updated in place with the batch's averages; otherwise they are used.
CNNX_API Tensor instance_norm(const Tensor& x, const Tensor& running_mean = {}, const Tensor& running_var = {},
                              const Tensor& weight = {}, const Tensor& bias = {},
                              const InstanceNormOptions& options = {});
struct LocalResponseNormOptions {
  double alpha = 1e-4;
  double beta = 0.75;
  double k = 1.0;
};
/// x / (k + alpha / size * sum of x^2 over `size` neighbouring channels)^beta.
CNNX_API Tensor local_response_norm(const Tensor& x, int64_t size, const LocalResponseNormOptions& options = {});
/// Zeroes values with probability p and scales the rest by 1 / (1 - p) while training.
CNNX_API Tensor dropout(const Tensor& x, double p = 0.5, bool training = true);
/// The same for whole channels of images (N, C, H, W).
CNNX_API Tensor dropout2d(const Tensor& x, double p = 0.5, bool training = true);

}  // namespace cnnx
