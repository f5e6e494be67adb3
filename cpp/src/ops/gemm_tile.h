// The matrix product's inner kernel: a tile of kRows x kVectors vectors of C held in registers, over packed panels.
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

/// c[i * ldc + j] (=|+=) sum over p < depth of a[p * kRows + i] * b[p * ldb + j], for i < kRows, j < kVectors vectors.
template <class T, int kRows, int kVectors, bool kAdd>
void gemm_tile(int64_t depth, const T* a, const T* b, int64_t ldb, T* c, int64_t ldc) {
  Vector<T> sums[kRows][kVectors] = {};
  for (int64_t p = 0; p < depth; ++p, a += kRows, b += ldb) {
    Vector<T> operand[kVectors];
    for (int v = 0; v < kVectors; ++v) operand[v] = load(b + v * kLanes<T>);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      for (int v = 0; v < kVectors; ++v) sums[i][v] += a[i] * operand[v];
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
using GemmTile = void (*)(int64_t depth, const T* a, const T* b, int64_t ldb, T* c, int64_t ldc);

namespace detail {
template <class T, bool kAdd, int... kIndex>
constexpr std::array<GemmTile<T>, sizeof...(kIndex)> gemm_tiles(std::integer_sequence<int, kIndex...>) {
  return {gemm_tile<T, kIndex / kTileVectors + 1, kIndex % kTileVectors + 1, kAdd>...};
}
template <class T, bool kAdd>
inline constexpr auto kGemmTiles = gemm_tiles<T, kAdd>(std::make_integer_sequence<int, kTileRows * kTileVectors>());
}  // namespace detail

/// The kernel for a tile of `rows` <= kTileRows and `cols` <= kTileCols, rounded up to whole vectors.
template <class T>
GemmTile<T> find_gemm_tile(int64_t rows, int64_t cols, bool add) {
  const auto at = static_cast<size_t>((rows - 1) * kTileVectors + ceil_div(cols, kLanes<T>) - 1);
  return add ? detail::kGemmTiles<T, true>[at] : detail::kGemmTiles<T, false>[at];
}

/// Sums of more products than this are added up from partial sums, which keeps their rounding errors small.
inline constexpr int64_t kSumDepth = 128;

/// c (=|+=) a * b of any depth, for a tile of `rows` <= kTileRows and `cols` <= kTileCols, rounded up to whole vectors.
template <class T>
void multiply_tile(int64_t rows, int64_t cols, int64_t depth, const T* a, const T* b, int64_t ldb, T* c, int64_t ldc,
                   bool add) {
  for (int64_t p = 0; p < depth; p += kSumDepth, add = true) {
    find_gemm_tile<T>(rows, cols, add)(depth - p < kSumDepth ? depth - p : kSumDepth, a + p * rows, b + p * ldb, ldb, c,
                                       ldc);
  }
}

}  // namespace cnnx::CNNX_ISA
