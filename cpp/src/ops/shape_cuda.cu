// Moving blocks and rows on CUDA.
#include "ops/shape.h"

#include "cuda/checks.h"

namespace cnnx::cuda {
namespace {

template <class D>
struct BlockWalk {
  explicit BlockWalk(const CopyGeometry& g) : rank(g.rank) {
    for (int axis = 0; axis < rank; ++axis) {
      const auto k = static_cast<size_t>(axis);
      sizes[axis] = D(g.sizes[k]);
      from[axis] = g.from[k];
      to[axis] = g.to[k];
    }
  }

  int rank;
  D sizes[Shape::kMaxRank];
  int64_t from[Shape::kMaxRank];
  int64_t to[Shape::kMaxRank];
};

template <class T, class D>
void copy_walk(int64_t count, const BlockWalk<D>& walk, const T* x, T* y) {
  for_each(count, [=] __device__(int64_t i) {
    auto rest = static_cast<decltype(walk.sizes[0].value)>(i);
    int64_t at_x = 0, at_y = 0;
    for (int axis = walk.rank - 1; axis >= 0; --axis) {
      const auto quotient = walk.sizes[axis].divide(rest);
      const auto at = static_cast<int64_t>(rest - quotient * walk.sizes[axis].value);
      at_x += at * walk.from[axis];
      at_y += at * walk.to[axis];
      rest = quotient;
    }
    y[at_y] = x[at_x];
  });
}

template <class T>
void copy_typed(const CopyGeometry& g, const void* x, void* y) {
  int64_t count = 1;
  for (int axis = 0; axis < g.rank; ++axis) count *= g.sizes[static_cast<size_t>(axis)];
  if (is_small(count)) {
    copy_walk(count, BlockWalk<Divisor>(g), static_cast<const T*>(x), static_cast<T*>(y));
  } else {
    copy_walk(count, BlockWalk<WideDivisor>(g), static_cast<const T*>(x), static_cast<T*>(y));
  }
}

void copy_block(const CopyGeometry& g, int64_t item_bytes, const void* x, void* y) {
  if (item_bytes == 1) return copy_typed<uint8_t>(g, x, y);
  if (item_bytes == 2) return copy_typed<uint16_t>(g, x, y);
  if (item_bytes == 4) return copy_typed<uint32_t>(g, x, y);
  copy_typed<uint64_t>(g, x, y);
}

template <class T>
void gather_typed(int64_t count, const int64_t* rows, int64_t row_values, const void* x, void* y) {
  const auto* in = static_cast<const T*>(x);
  auto* out = static_cast<T*>(y);
  for_each(count * row_values, [=] __device__(int64_t i) {
    const int64_t row = i / row_values;
    out[i] = in[rows[row] * row_values + (i - row * row_values)];
  });
}

/// In the largest values that all rows consist of and may begin with.
void gather_rows(int64_t count, const int64_t* rows, int64_t row_bytes, const void* x, void* y) {
  if (count == 0 || row_bytes == 0) return;
  const auto fits = [&](int64_t bytes) {
    return row_bytes % bytes == 0 && reinterpret_cast<uintptr_t>(x) % static_cast<uintptr_t>(bytes) == 0;
  };
  if (fits(8)) return gather_typed<uint64_t>(count, rows, row_bytes / 8, x, y);
  if (fits(4)) return gather_typed<uint32_t>(count, rows, row_bytes / 4, x, y);
  gather_typed<uint8_t>(count, rows, row_bytes, x, y);
}

int64_t check_rows(int64_t length, int64_t count, const int64_t* from, int64_t* to) {
  check_all(
      count,
      [=] __device__(int64_t i) {
        const int64_t number = from[i];
        to[i] = row_of(number, length);
        return number >= -length && number < length;
      },
      [=, op = "index", text = kRowRule] __device__(FailedCheck* check, long long i) {
        *check = {op, text, {-length, length, from[i]}};
      });
  return 0;
}

/// A thread adds up one column, row after row.
template <class T>
void scatter_add(int64_t count, const int64_t* rows, int64_t length, int64_t row_values, const T* gy, T* gx) {
  const auto bytes = static_cast<size_t>(length * row_values) * sizeof(T);
  if (bytes == 0) return;
  check_cuda(cudaMemsetAsync(gx, 0, bytes, stream()), "cudaMemset");
  for_each(row_values, [=] __device__(int64_t j) {
    for (int64_t i = 0; i < count; ++i) gx[rows[i] * row_values + j] += gy[i * row_values + j];
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

}  // namespace cnnx::cuda
