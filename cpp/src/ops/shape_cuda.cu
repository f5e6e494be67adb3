// Moving blocks and rows on CUDA.
#include "ops/shape.h"

#include "cuda/launch.h"

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
  if (item_bytes == 4) return copy_typed<uint32_t>(g, x, y);
  copy_typed<uint64_t>(g, x, y);
}

template <class T>
void gather_typed(int64_t count, int64_t row_values, const void* x, const int64_t* index, void* y) {
  const auto* in = static_cast<const T*>(x);
  auto* out = static_cast<T*>(y);
  for_each(count * row_values, [=] __device__(int64_t i) {
    const int64_t row = i / row_values;
    out[i] = in[index[row] * row_values + (i - row * row_values)];
  });
}

/// The index lies in the host's memory.
void gather_rows(int64_t count, int64_t row_bytes, const void* x, const int64_t* index, void* y) {
  if (count == 0 || row_bytes == 0) return;
  const Uploaded<int64_t> rows(index, count);
  if (row_bytes % 8 == 0) return gather_typed<uint64_t>(count, row_bytes / 8, x, rows.data(), y);
  if (row_bytes % 4 == 0) return gather_typed<uint32_t>(count, row_bytes / 4, x, rows.data(), y);
  gather_typed<uint8_t>(count, row_bytes, x, rows.data(), y);
}

/// The index lies in the host's memory. A thread adds up one column, row after row.
template <class T>
void scatter_add(int64_t count, int64_t rows, int64_t row_values, const T* gy, const int64_t* index, T* gx) {
  const auto bytes = static_cast<size_t>(rows * row_values) * sizeof(T);
  if (bytes == 0) return;
  check_cuda(cudaMemsetAsync(gx, 0, bytes, stream()), "cudaMemset");
  if (count == 0) return;
  const Uploaded<int64_t> at(index, count);
  const int64_t* const row_of = at.data();
  for_each(row_values, [=] __device__(int64_t j) {
    for (int64_t i = 0; i < count; ++i) gx[row_of[i] * row_values + j] += gy[i * row_values + j];
  });
}

constexpr ShapeKernels kTable{copy_block, gather_rows};
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
