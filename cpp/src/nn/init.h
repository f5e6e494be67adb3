// Initial values of layer parameters.
#pragma once

#include "cnnx/tensor.h"

namespace cnnx {

/// Uniform in +-1 / sqrt(fan_in), which is torch's kaiming_uniform with a = sqrt(5); uninitialised under
/// init::SkipGuard.
Tensor default_parameter(const Shape& shape, double fan_in, DType dtype);

/// A constructor argument that counts something.
void check_positive(const char* op, const char* name, int64_t value);

}  // namespace cnnx
