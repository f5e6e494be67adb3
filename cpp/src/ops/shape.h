// Kernels that move values without computing: transpose, blocks of rows, constant borders. Sizes are in bytes or
// values.
#pragma once

#include <array>
#include <cstdint>

#include "cnnx/tensor.h"

namespace cnnx {

/// Copies a block of shape `sizes` between two row-major arrays, each with its own strides, counted in values.
struct CopyGeometry {
  int rank = 0;
  std::array<int64_t, Shape::kMaxRank> sizes{};
  std::array<int64_t, Shape::kMaxRank> from{};
  std::array<int64_t, Shape::kMaxRank> to{};
};

struct ShapeKernels {
  /// y[to offsets] = x[from offsets] for values of item_bytes 1, 4 or 8.
  void (*copy_block)(const CopyGeometry& g, int64_t item_bytes, const void* x, void* y);
  /// y[i] = x[index[i]] for rows of row_bytes.
  void (*gather_rows)(int64_t count, int64_t row_bytes, const void* x, const int64_t* index, void* y);
};

/// T is float or double.
template <class T>
struct RowKernels {
  /// gx[index[i]] += gy[i], rows in order; gx (rows, row_values) is zeroed first.
  void (*scatter_add)(int64_t count, int64_t rows, int64_t row_values, const T* gy, const int64_t* index, T* gx);
};

}  // namespace cnnx
