// Moving blocks and rows on the CPU.
#include "ops/shape.h"

#include <algorithm>
#include <cstring>

#include "kernels.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

template <class T>
void copy_typed(const CopyGeometry& g, const T* x, T* y) {
  const auto last = static_cast<size_t>(g.rank) - 1;
  const int64_t n = g.sizes[last], from = g.from[last], to = g.to[last];
  int64_t rows = 1;
  for (size_t axis = 0; axis < last; ++axis) rows *= g.sizes[axis];
  parallel_for(rows, item_grain(n), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t rest = row, at_x = 0, at_y = 0;
      for (size_t axis = last; axis-- > 0;) {
        at_x += rest % g.sizes[axis] * g.from[axis];
        at_y += rest % g.sizes[axis] * g.to[axis];
        rest /= g.sizes[axis];
      }
      if (from == 1 && to == 1) {
        std::memcpy(y + at_y, x + at_x, static_cast<size_t>(n) * sizeof(T));
      } else {
        for (int64_t i = 0; i < n; ++i) y[at_y + i * to] = x[at_x + i * from];
      }
    }
  });
}

void copy_block(const CopyGeometry& g, int64_t item_bytes, const void* x, void* y) {
  if (item_bytes == 1) return copy_typed(g, static_cast<const uint8_t*>(x), static_cast<uint8_t*>(y));
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
