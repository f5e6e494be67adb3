// The matrix product's inner kernel: a tile of kRows x kVectors vectors of C held in registers.
#pragma once

#include <array>
#include <utility>

#include "ops/simd.h"
#include "rounding.h"

namespace cnnx::CNNX_ISA {

inline constexpr int kTileRows = kVectorRegisters == 32 ? 8 : 4;
inline constexpr int kTileVectors = 3;  // with kTileRows x 3 sums and 3 operands the registers are full
template <class T>
inline constexpr int64_t kTileCols = kTileVectors * kLanes<T>;

/// Sums of more products than this are added up from partial sums, which keeps their rounding errors small.
inline constexpr int64_t kSumDepth = 128;

/// How the left matrix lies in memory: value (row i, depth p) at p * step + i, or at i * step + p.
enum class LeftOrder : unsigned char { kColumns, kRows };

/// c[i * ldc + j] (=|+=) sum over p < depth of a(i, p) * b[p * ldb + j], for i < kRows, j < kVectors vectors. With the
/// left matrix by rows, what multiply_panel() reads next is fetched ahead: the rows below, and b's next stretch.
template <class T, LeftOrder kOrder, int kRows, int kVectors, bool kAdd>
void gemm_tile(int64_t depth, const T* a, int64_t step, const T* b, int64_t ldb, T* c, int64_t ldc) {
  Vector<T> sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) sums[i][v] = Vector<T>{};
  }
  for (int64_t p = 0; p < depth; ++p, b += ldb) {
    if (kOrder == LeftOrder::kRows && p % kLanes<T> == 0) {
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) __builtin_prefetch(a + (kRows + i) * step + p);
    }
    Vector<T> operand[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      operand[v] = load(b + v * kLanes<T>);
      if (kOrder == LeftOrder::kRows) __builtin_prefetch(b + v * kLanes<T> + kSumDepth * ldb, 0, 2);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const T left = kOrder == LeftOrder::kRows ? a[i * step + p] : a[p * step + i];
      for (int v = 0; v < kVectors; ++v) sums[i][v] += left * operand[v];
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      T* to = c + i * ldc + v * kLanes<T>;
      store(kAdd ? load(to) + sums[i][v] : sums[i][v], to);
    }
  }
}

template <class T>
using GemmTile = void (*)(int64_t depth, const T* a, int64_t step, const T* b, int64_t ldb, T* c, int64_t ldc);

namespace detail {
template <class T, LeftOrder kOrder, bool kAdd, int... kIndex>
constexpr std::array<GemmTile<T>, sizeof...(kIndex)> gemm_tiles(std::integer_sequence<int, kIndex...>) {
  return {gemm_tile<T, kOrder, kIndex / kTileVectors + 1, kIndex % kTileVectors + 1, kAdd>...};
}
template <class T, LeftOrder kOrder, bool kAdd>
inline constexpr auto kGemmTiles =
    gemm_tiles<T, kOrder, kAdd>(std::make_integer_sequence<int, kTileRows * kTileVectors>());
}  // namespace detail

/// The kernel for a tile of `rows` <= kTileRows and `cols` <= kTileCols, rounded up to whole vectors.
template <class T, LeftOrder kOrder = LeftOrder::kColumns>
GemmTile<T> find_gemm_tile(int64_t rows, int64_t cols, bool add) {
  const auto at = static_cast<size_t>((rows - 1) * kTileVectors + ceil_div(cols, kLanes<T>) - 1);
  return add ? detail::kGemmTiles<T, kOrder, true>[at] : detail::kGemmTiles<T, kOrder, false>[at];
}

/// c (=|+=) a * b for any number of rows and `cols` <= kTileCols, rounded up to whole vectors. All rows take one
/// stretch of the depth after the other, so that its part of b stays in the first-level cache.
template <LeftOrder kOrder, class T>
void multiply_panel(int64_t rows, int64_t cols, int64_t depth, const T* a, int64_t step, const T* b, int64_t ldb, T* c,
                    int64_t ldc, bool add) {
  for (int64_t p = 0; p < depth; p += kSumDepth, add = true) {
    const int64_t stretch = depth - p < kSumDepth ? depth - p : kSumDepth;
    for (int64_t i = 0; i < rows; i += kTileRows) {
      const T* const left = kOrder == LeftOrder::kRows ? a + i * step + p : a + p * step + i;
      find_gemm_tile<T, kOrder>(rows - i < kTileRows ? rows - i : kTileRows, cols, add)(
          stretch, left, step, b + p * ldb, ldb, c + i * ldc, ldc);
    }
  }
}

}  // namespace cnnx::CNNX_ISA
