// The search for values that are not finite, under set_detect_anomaly().
#pragma once

#include "autograd.h"

namespace cnnx {

bool detects_anomaly();
/// Of an operation that is being recorded; remembers its layer for the backward pass. Raises std::runtime_error.
void check_output(Node& node, const Tensor& output);
/// What an operation makes of the gradient of its output. Raises std::runtime_error.
void check_gradients(const Node& node, const Tensor& gradient, const Gradients& gradients);

}  // namespace cnnx
