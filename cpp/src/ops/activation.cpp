// Activation functions. ReLU, sigmoid and tanh keep their output for the backward pass, the others their input.
#include "ops/unary.h"

#include "check.h"

namespace cnnx {

Tensor relu(const Tensor& x) { return unary(UnaryOp::kRelu, "relu", x); }
Tensor leaky_relu(const Tensor& x, double negative_slope) {
  return unary(UnaryOp::kLeakyRelu, "leaky_relu", x, negative_slope);
}
Tensor sigmoid(const Tensor& x) { return unary(UnaryOp::kSigmoid, "sigmoid", x); }
Tensor tanh(const Tensor& x) { return unary(UnaryOp::kTanh, "tanh", x); }
Tensor gelu(const Tensor& x, bool tanh_approximation) {
  return unary(tanh_approximation ? UnaryOp::kGeluTanh : UnaryOp::kGelu, "gelu", x);
}
Tensor silu(const Tensor& x) { return unary(UnaryOp::kSilu, "silu", x); }

}  // namespace cnnx
