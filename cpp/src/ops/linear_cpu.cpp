// The fully-connected layer. With few rows reading the weights once is what counts: loops over the weights as they lie
// in memory. With many, BLAS.
#include "ops/linear.h"

#include <algorithm>

#include "blas.h"
#include "kernels.h"
#include "ops/gemm_tile.h"
#include "parallel.h"
#include "rounding.h"

namespace cnnx::CNNX_ISA {
namespace {

constexpr int64_t kFewRows = 32;  // measured: where BLAS, which copies the weights first, becomes faster

bool has_few_rows(const LinearGeometry& g) { return g.rows <= kFewRows; }

// ---- Forward: dot products of rows of x and rows of w

constexpr int kDotOuts = 4;
constexpr int kDotRows = kVectorRegisters == 32 ? 6 : 2;

/// y[n * out + o] = x[n] . w[o] + b[o] for kRows rows and kOuts outputs.
template <class T, int kRows, int kOuts>
void dot_tile(const LinearGeometry& g, const T* x, const T* w, const T* b, T* y) {
  Vector<T> sums[kRows][kOuts] = {};
  int64_t i = 0;
  for (; i + kLanes<T> <= g.in; i += kLanes<T>) {
    Vector<T> weights[kOuts];
    for (int o = 0; o < kOuts; ++o) weights[o] = load(w + o * g.in + i);
#pragma GCC unroll 8
    for (int n = 0; n < kRows; ++n) {
      const Vector<T> v = load(x + n * g.in + i);
      for (int o = 0; o < kOuts; ++o) sums[n][o] += v * weights[o];
    }
  }
  for (int n = 0; n < kRows; ++n) {
    for (int o = 0; o < kOuts; ++o) {
      T sum = sum_lanes<T>(sums[n][o]);
      for (int64_t j = i; j < g.in; ++j) sum += x[n * g.in + j] * w[o * g.in + j];
      y[n * g.out + o] = b ? sum + b[o] : sum;
    }
  }
}

template <class T>
using DotTile = void (*)(const LinearGeometry&, const T*, const T*, const T*, T*);
template <class T, int... kIndex>
constexpr std::array<DotTile<T>, sizeof...(kIndex)> make_dot_tiles(std::integer_sequence<int, kIndex...>) {
  return {dot_tile<T, kIndex / kDotOuts + 1, kIndex % kDotOuts + 1>...};
}
template <class T>
constexpr auto kDotTiles = make_dot_tiles<T>(std::make_integer_sequence<int, kDotRows * kDotOuts>());

template <class T>
void forward_few(const LinearGeometry& g, const T* x, const T* w, const T* b, T* y) {
  const int64_t tiles = ceil_div(g.out, kDotOuts);
  parallel_for(tiles, item_grain(g.in * kDotOuts), [&](int64_t begin, int64_t end) {
    for (int64_t o = begin * kDotOuts; o < std::min(g.out, end * kDotOuts); o += kDotOuts) {
      const int64_t outs = std::min<int64_t>(kDotOuts, g.out - o);
      for (int64_t n = 0; n < g.rows; n += kDotRows) {
        const int64_t rows = std::min<int64_t>(kDotRows, g.rows - n);
        kDotTiles<T>[static_cast<size_t>((rows - 1) * kDotOuts + outs - 1)](g, x + n* g.in, w + o* g.in,
                                                                            b ? b + o : nullptr, y + n* g.out + o);
      }
    }
  });
}

// ---- Both gradients: tiles of C = A B with B's rows as they lie in memory

/// Columns [begin, end) of c (rows, cols) (=|+=) a (rows, depth) times b (depth, cols). Columns that do not fill a
/// vector are summed up one by one, so that nothing is written behind a row.
template <LeftOrder kOrder, class T>
void multiply_columns(int64_t rows, int64_t depth, const T* a, int64_t step, const T* b, T* c, int64_t cols,
                      int64_t begin, int64_t end, bool add) {
  const int64_t row_step = kOrder == LeftOrder::kRows ? step : 1, depth_step = kOrder == LeftOrder::kRows ? 1 : step;
  const int64_t whole = begin + (end - begin) / kLanes<T> * kLanes<T>;
  for (int64_t j = begin; j < whole; j += kTileCols<T>) {
    for (int64_t n = 0; n < rows; n += kTileRows) {
      const int64_t height = std::min<int64_t>(kTileRows, rows - n);
      find_gemm_tile<T, kOrder>(height, std::min(kTileCols<T>, whole - j), add)(depth, a + n * row_step, step, b + j,
                                                                                cols, c + n * cols + j, cols);
    }
  }
  for (int64_t j = whole; j < end; ++j) {
    for (int64_t n = 0; n < rows; ++n) {
      T sum = add ? c[n * cols + j] : T(0);
      for (int64_t p = 0; p < depth; ++p) sum += a[n * row_step + p * depth_step] * b[p * cols + j];
      c[n * cols + j] = sum;
    }
  }
}

template <class T>
void backward_input_few(const LinearGeometry& g, const T* gy, const T* w, T* gx) {
  constexpr int64_t kDepth = 16;  // rows of w that are swept at a time
  const int64_t grain = std::max<int64_t>(4, ceil_div(g.in, 8 * kTileCols<T>)) * kTileCols<T>;
  parallel_for(g.in, g.in * g.out < 2 * kElementGrain ? g.in : grain, [&](int64_t begin, int64_t end) {
    for (int64_t o = 0; o < g.out; o += kDepth) {
      const int64_t depth = std::min(kDepth, g.out - o);
      multiply_columns<LeftOrder::kRows>(g.rows, depth, gy + o, g.out, w + o * g.in, gx, g.in, begin, end, o > 0);
    }
  });
}

template <class T>
void backward_weight_few(const LinearGeometry& g, const T* x, const T* gy, T* gw) {
  const int64_t panels = ceil_div(g.out, kTileRows);
  parallel_for(panels, item_grain(g.in * kTileRows), [&](int64_t begin, int64_t end) {
    for (int64_t o = begin * kTileRows; o < std::min(g.out, end * kTileRows); o += kTileRows) {
      const int64_t outs = std::min<int64_t>(kTileRows, g.out - o);
      multiply_columns<LeftOrder::kColumns>(outs, g.rows, gy + o, g.out, x, gw + o * g.in, g.in, 0, g.in, false);
    }
  });
}

// ---- The table

template <class T>
void forward(const LinearGeometry& g, const T* x, const T* w, const T* b, T* y) {
  if (has_few_rows(g)) return forward_few(g, x, w, b, y);
  if (b) {
    parallel_for(g.rows, item_grain(g.out), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) std::copy(b, b + g.out, y + row * g.out);
    });
  }
  parallel_gemm<T>(false, true, g.rows, g.out, g.in, T(1), x, g.in, w, g.in, b ? T(1) : T(0), y, g.out);
}

template <class T>
void backward_input(const LinearGeometry& g, const T* gy, const T* w, T* gx) {
  if (has_few_rows(g)) return backward_input_few(g, gy, w, gx);
  parallel_gemm<T>(false, false, g.rows, g.in, g.out, T(1), gy, g.out, w, g.in, T(0), gx, g.in);
}

template <class T>
void backward_weight(const LinearGeometry& g, const T* x, const T* gy, T* gw) {
  if (g.rows <= kMostOuterProducts) return backward_weight_few(g, x, gy, gw);
  parallel_gemm<T>(true, false, g.out, g.in, g.rows, T(1), gy, g.out, x, g.in, T(0), gw, g.in);
}

template <class T>
void backward_bias(const LinearGeometry& g, const T* gy, T* gb) {
  parallel_for(g.out, std::max<int64_t>(16, item_grain(g.rows)), [&](int64_t begin, int64_t end) {
    std::fill(gb + begin, gb + end, T(0));
    for (int64_t row = 0; row < g.rows; ++row) {
      const T* values = gy + row * g.out;
      for (int64_t i = begin; i < end; ++i) gb[i] += values[i];
    }
  });
}

template <class T>
constexpr LinearKernels<T> kTable{forward<T>, backward_input<T>, backward_weight<T>, backward_bias<T>};

}  // namespace

template <>
const LinearKernels<float>& table() {
  return kTable<float>;
}
template <>
const LinearKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
