// Weight initialisation (torch.nn.init's names and formulas).
#include "nn/init.h"

#include <cmath>

#include "check.h"
#include "cnnx/nn.h"
#include "random.h"

namespace cnnx {
namespace {

thread_local bool skip_initialisation = false;

struct Fans {
  double in = 1;
  double out = 1;
};

/// Values that feed one output, and outputs that one input feeds: axis 1 and axis 0 times the receptive field.
Fans fans(const char* op, const Tensor& tensor) {
  check_floating(op, tensor);
  check(tensor.rank() >= 2, op, "fan in and fan out need at least two axes; got shape {}.", tensor.shape());
  double field = 1;
  for (int axis = 2; axis < tensor.rank(); ++axis) field *= static_cast<double>(tensor.size(axis));
  return {field * static_cast<double>(tensor.size(1)), field * static_cast<double>(tensor.size(0))};
}

/// A standard deviation of variance / fan, 0 for a tensor without values.
double deviation(double variance, double fan) { return fan > 0 ? std::sqrt(variance / fan) : 0; }

double kaiming_deviation(const char* op, const Tensor& tensor, const init::KaimingOptions& options) {
  const Fans fan = fans(op, tensor);
  check(options.mode == "fan_in" || options.mode == "fan_out", op,
        "mode must be \"fan_in\" or \"fan_out\"; got \"{}\".", options.mode);
  const double gain = init::calculate_gain(options.nonlinearity, options.a);
  return deviation(gain * gain, options.mode == "fan_in" ? fan.in : fan.out);
}

double xavier_deviation(const char* op, const Tensor& tensor, double gain) {
  const Fans fan = fans(op, tensor);
  return deviation(2 * gain * gain, fan.in + fan.out);
}

const double kSqrt3 = std::sqrt(3.0);  // half the width of a uniform distribution over its standard deviation

}  // namespace

Tensor default_parameter(const Shape& shape, double fan_in, DType dtype) {
  check(is_floating(dtype), "layer", "parameters are floating-point numbers; got dtype {}.", dtype);
  Tensor parameter = empty(shape, {dtype});
  if (!skip_initialisation) {
    const double bound = deviation(1, fan_in);
    fill_uniform(parameter, -bound, bound);
  }
  return parameter;
}

void check_positive(const char* op, const char* name, int64_t value) {
  check(value >= 1, op, "{} must be at least 1; got {}.", name, value);
}

namespace init {

SkipGuard::SkipGuard() : previous_(std::exchange(skip_initialisation, true)) {}
SkipGuard::~SkipGuard() { skip_initialisation = previous_; }

void constant_(Tensor& tensor, double value) { tensor.detach().fill_(value); }

void uniform_(Tensor& tensor, double low, double high) {
  check(low <= high, "uniform_", "low must not exceed high; got {} and {}.", low, high);
  check(std::isfinite(low) && std::isfinite(high), "uniform_", "bounds must be finite; got {} and {}.", low, high);
  fill_uniform(tensor, low, high);
}

void normal_(Tensor& tensor, double mean, double std) {
  check(std >= 0, "normal_", "std must not be negative; got {}.", std);
  check(std::isfinite(mean) && std::isfinite(std), "normal_", "mean and std must be finite; got {} and {}.", mean, std);
  fill_normal(tensor, mean, std);
}

void xavier_uniform_(Tensor& tensor, double gain) {
  const double bound = kSqrt3 * xavier_deviation("xavier_uniform_", tensor, gain);
  fill_uniform(tensor, -bound, bound);
}

void xavier_normal_(Tensor& tensor, double gain) {
  fill_normal(tensor, 0, xavier_deviation("xavier_normal_", tensor, gain));
}

void kaiming_uniform_(Tensor& tensor, const KaimingOptions& options) {
  const double bound = kSqrt3 * kaiming_deviation("kaiming_uniform_", tensor, options);
  fill_uniform(tensor, -bound, bound);
}

void kaiming_normal_(Tensor& tensor, const KaimingOptions& options) {
  fill_normal(tensor, 0, kaiming_deviation("kaiming_normal_", tensor, options));
}

double calculate_gain(const std::string& nonlinearity, double a) {
  if (nonlinearity == "linear" || nonlinearity == "conv2d" || nonlinearity == "sigmoid") return 1;
  if (nonlinearity == "tanh") return 5.0 / 3;
  if (nonlinearity == "relu") return std::sqrt(2.0);
  if (nonlinearity == "leaky_relu") return std::sqrt(2 / (1 + a * a));
  if (nonlinearity == "selu") return 0.75;
  fail("calculate_gain",
       "expected \"linear\", \"conv2d\", \"sigmoid\", \"tanh\", \"relu\", \"leaky_relu\" or \"selu\"; got \"{}\".",
       nonlinearity);
}

}  // namespace init
}  // namespace cnnx
