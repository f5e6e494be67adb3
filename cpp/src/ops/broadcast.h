// NumPy broadcasting of two operands, reduced to as few axes as possible.
#pragma once

#include <array>
#include <cstdint>

#include "cnnx/tensor.h"

namespace cnnx {

struct Broadcast {
  int rank = 0;  // at least 1
  std::array<int64_t, Shape::kMaxRank> sizes{};
  std::array<int64_t, Shape::kMaxRank> stride_a{};  // 0 where a is repeated
  std::array<int64_t, Shape::kMaxRank> stride_b{};
  int64_t numel = 0;
};

/// The shape both operands broadcast to. Raises std::invalid_argument.
Shape broadcast_shape(std::string_view op, const Shape& a, const Shape& b);
/// Strides of both operands over their common shape, neighbouring axes merged.
Broadcast make_broadcast(const Shape& a, const Shape& b, const Shape& result);
/// Adds up the axes along which `shape` was repeated to give grad: the gradient of broadcasting.
Tensor sum_to(const Tensor& grad, const Shape& shape);

}  // namespace cnnx
