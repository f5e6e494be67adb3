// Reflection padding, a part of pad().
#pragma once

#include "cnnx/tensor.h"

namespace cnnx {

/// x with borders (left, right) or (left, right, top, bottom) that mirror what lies inside them; the output has
/// `shape`. Raises std::invalid_argument for borders not smaller than the axis. Recorded as `op`.
Tensor reflect(const char* op, const Tensor& x, std::span<const int64_t> padding, const Shape& shape);

}  // namespace cnnx
