// Moving blocks and rows on the CPU.
#include "ops/shape.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels.h"
#include "ops/transpose_matrix.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

/// Where row number `row` begins in both arrays, over the axes that `is_counted` takes.
template <class F>
std::pair<int64_t, int64_t> row_offsets(const CopyGeometry& g, int64_t row, F is_counted) {
  int64_t at_x = 0, at_y = 0;
  for (auto axis = static_cast<size_t>(g.rank); axis-- > 0;) {
    if (!is_counted(axis)) continue;
    at_x += row % g.sizes[axis] * g.from[axis];
    at_y += row % g.sizes[axis] * g.to[axis];
    row /= g.sizes[axis];
  }
  return {at_x, at_y};
}

template <class F>
int64_t count_rows(const CopyGeometry& g, F is_counted) {
  int64_t rows = 1;
  for (size_t axis = 0; axis < static_cast<size_t>(g.rank); ++axis) rows *= is_counted(axis) ? g.sizes[axis] : 1;
  return rows;
}

template <class T>
void copy_rows(const CopyGeometry& g, const T* x, T* y) {
  const auto last = static_cast<size_t>(g.rank) - 1;
  const int64_t n = g.sizes[last], from = g.from[last], to = g.to[last];
  const auto is_outer = [&](size_t axis) { return axis != last; };
  parallel_for(count_rows(g, is_outer), item_grain(n), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const auto [at_x, at_y] = row_offsets(g, row, is_outer);
      if (from == 1 && to == 1) {
        std::memcpy(y + at_y, x + at_x, static_cast<size_t>(n) * sizeof(T));
      } else {
        for (int64_t i = 0; i < n; ++i) y[at_y + i * to] = x[at_x + i * from];
      }
    }
  });
}

/// Matrices whose neighbours lie along the last axis in y and along axis `other` in x.
template <class T>
void transpose_matrices(const CopyGeometry& g, size_t other, const T* x, T* y) {
  constexpr int64_t kCols = 64;
  const auto last = static_cast<size_t>(g.rank) - 1;
  const int64_t rows = g.sizes[last], cols = g.sizes[other], strips = ceil_div(cols, kCols);
  const auto is_outer = [&](size_t axis) { return axis != last && axis != other; };
  parallel_for(count_rows(g, is_outer) * strips, item_grain(rows * kCols), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto [at_x, at_y] = row_offsets(g, i / strips, is_outer);
      const int64_t col = i % strips * kCols;
      transpose_matrix(rows, std::min(kCols, cols - col), x + at_x + col, g.from[last], y + at_y + col * g.to[other],
                       g.to[other]);
    }
  });
}

template <class T>
void copy_typed(const CopyGeometry& g, const T* x, T* y) {
  const auto last = static_cast<size_t>(g.rank) - 1;
  if constexpr (sizeof(T) >= 4) {
    if (g.to[last] == 1 && g.sizes[last] >= kLanes<T>) {
      for (size_t axis = 0; axis < last; ++axis) {
        if (g.from[axis] == 1 && g.sizes[axis] >= kLanes<T>) return transpose_matrices(g, axis, x, y);
      }
    }
  }
  copy_rows(g, x, y);
}

void copy_block(const CopyGeometry& g, int64_t item_bytes, const void* x, void* y) {
  if (item_bytes == 1) return copy_typed(g, static_cast<const uint8_t*>(x), static_cast<uint8_t*>(y));
  if (item_bytes == 2) return copy_typed(g, static_cast<const uint16_t*>(x), static_cast<uint16_t*>(y));
  if (item_bytes == 4) return copy_typed(g, static_cast<const uint32_t*>(x), static_cast<uint32_t*>(y));
  copy_typed(g, static_cast<const uint64_t*>(x), static_cast<uint64_t*>(y));
}

void gather_rows(int64_t count, const int64_t* rows, int64_t row_bytes, const void* x, void* y) {
  parallel_for(count, item_grain(row_bytes / 4), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(static_cast<char*>(y) + i * row_bytes, static_cast<const char*>(x) + rows[i] * row_bytes,
                  static_cast<size_t>(row_bytes));
    }
  });
}

int64_t check_rows(int64_t length, int64_t count, const int64_t* from, int64_t* to) {
  int64_t wrong = 0;
  for (int64_t i = 0; i < count; ++i) {
    to[i] = row_of(from[i], length);
    if ((from[i] < -length || from[i] >= length) && wrong == 0) wrong = i + 1;
  }
  return wrong;
}

template <class T>
void scatter_add(int64_t count, const int64_t* rows, int64_t length, int64_t row_values, const T* gy, T* gx) {
  std::fill(gx, gx + length * row_values, T(0));
  parallel_for(row_values, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < count; ++i) {
      T* out = gx + rows[i] * row_values;
      const T* in = gy + i * row_values;
      for (int64_t j = begin; j < end; ++j) out[j] += in[j];
    }
  });
}

constexpr ShapeKernels kTable{copy_block, gather_rows, check_rows};
template <class T>
constexpr RowKernels<T> kRowTable{scatter_add<T>};

}  // namespace

template <>
const ShapeKernels& table() {
  return kTable;
}
template <>
const RowKernels<float>& table() {
  return kRowTable<float>;
}
template <>
const RowKernels<double>& table() {
  return kRowTable<double>;
}

}  // namespace cnnx::CNNX_ISA
