// Kernels that move values without computing: transpose, blocks of rows, constant borders. Sizes are in bytes or
// values.
#pragma once

#include <array>
#include <cstdint>

#include "cnnx/tensor.h"

namespace cnnx {

using Strides = std::array<int64_t, Shape::kMaxRank>;

/// How far the neighbours along each axis of a row-major array are apart.
inline Strides strides_of(const Shape& shape) {
  Strides strides{};
  int64_t stride = 1;
  for (int axis = shape.rank(); axis-- > 0;) {
    strides[static_cast<size_t>(axis)] = stride;
    stride *= shape[axis];
  }
  return strides;
}

/// Copies a block of shape `sizes` between two row-major arrays, each with its own strides, counted in values.
struct CopyGeometry {
  int rank = 0;
  std::array<int64_t, Shape::kMaxRank> sizes{};
  Strides from{};
  Strides to{};
};

struct ShapeKernels {
  /// y[to offsets] = x[from offsets] for values of item_bytes 1, 4 or 8.
  void (*copy_block)(const CopyGeometry& g, int64_t item_bytes, const void* x, void* y);
  /// y[i] = x[rows[i]] for rows of row_bytes.
  void (*gather_rows)(int64_t count, const int64_t* rows, int64_t row_bytes, const void* x, void* y);
  /// Copies numbers of [-length, length), negative ones counted from the end, the nearest row for others. The first of
  /// these: its position plus 1, else 0; on CUDA 0, and it is raised when the host next waits.
  int64_t (*check_rows)(int64_t length, int64_t count, const int64_t* from, int64_t* to);
};
inline constexpr const char* kRowRule = "row numbers must lie in [{}, {}); got {}.";

/// The row that a number stands for.
constexpr int64_t row_of(int64_t number, int64_t length) {
  const int64_t row = number < 0 ? number + length : number;
  return row < 0 ? 0 : row < length ? row : length - 1;
}

/// T is float or double.
template <class T>
struct RowKernels {
  /// gx[rows[i]] += gy[i], in order; gx (length, row_values) is zeroed first.
  void (*scatter_add)(int64_t count, const int64_t* rows, int64_t length, int64_t row_values, const T* gy, T* gx);
};

}  // namespace cnnx
