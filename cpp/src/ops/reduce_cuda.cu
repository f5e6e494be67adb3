// Reductions on CUDA. Floating sums are taken in the element type, of many short runs, in an order that the geometry
// and the GPU decide.
#include "ops/reduce.h"

#include <type_traits>

#include "cuda/reduce.h"

namespace cnnx::cuda {
namespace {

template <class T>
using Wrapping = std::conditional_t<std::is_integral_v<T>, unsigned long long, T>;  // integers wrap

/// A block adds up one piece of one row: y[row * pieces + piece].
template <class T>
__global__ void __launch_bounds__(kThreads) sum_rows(int64_t length, int64_t piece, const T* x, T* y) {
  const int64_t row = blockIdx.x, begin = blockIdx.y * piece, end = std::min(length, begin + piece);
  Wrapping<T> sum = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) sum += static_cast<Wrapping<T>>(x[row * length + i]);
  sum = reduce_block(sum, Plus());
  if (threadIdx.x == 0) y[row * gridDim.y + blockIdx.y] = static_cast<T>(sum);
}

constexpr int kColumns = 32, kColumnThreads = 8;

/// A block adds up one piece of 32 neighbouring columns of one item: y[(item * pieces + piece) * inner + column].
template <class T>
__global__ void __launch_bounds__(kColumns* kColumnThreads)
    sum_columns(ReduceGeometry g, int64_t strips, int64_t piece, const T* x, T* y) {
  __shared__ Wrapping<T> parts[kColumnThreads][kColumns];
  const int64_t item = blockIdx.x / strips, column = blockIdx.x % strips * kColumns + threadIdx.x;
  const int64_t begin = blockIdx.y * piece, end = std::min(g.length, begin + piece);
  Wrapping<T> sum = 0;
  if (column < g.inner) {
    for (int64_t l = begin + threadIdx.y; l < end; l += kColumnThreads) {
      sum += static_cast<Wrapping<T>>(x[(item * g.length + l) * g.inner + column]);
    }
  }
  parts[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && column < g.inner) {
    for (int i = 1; i < kColumnThreads; ++i) sum += parts[i][threadIdx.x];
    y[(item * gridDim.y + blockIdx.y) * g.inner + column] = static_cast<T>(sum);
  }
}

/// Pieces of at least `least` values into which `length` is cut so that `blocks` rows fill the GPU.
int64_t piece_length(int64_t blocks, int64_t length, int64_t least) {
  const int64_t wanted = ceil_div(int64_t{8} * multiprocessors(), std::max<int64_t>(1, blocks));
  const int64_t pieces = std::clamp<int64_t>(std::min(wanted, length / least), 1, 4096);
  return std::max<int64_t>(1, ceil_div(length, pieces));
}

template <class T>
void sum(const ReduceGeometry& g, const T* x, T* y) {
  const bool rows = g.inner == 1;
  const int64_t strips = ceil_div(g.inner, kColumns), blocks = rows ? g.outer : g.outer * strips;
  if (blocks == 0) return;
  const int64_t piece = rows ? piece_length(blocks, g.length, 4096) : piece_length(blocks, g.length, 128);
  const int64_t pieces = std::max<int64_t>(1, ceil_div(g.length, piece));
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(pieces));
  const Scratch parts(pieces > 1 ? g.outer * pieces * g.inner * static_cast<int64_t>(sizeof(T)) : 0);
  T* const to = pieces > 1 ? parts.as<T>() : y;
  if (rows) {
    launch(sum_rows<T>, grid, dim3(kThreads), 0, g.length, piece, x, to);
  } else {
    launch(sum_columns<T>, grid, dim3(kColumns, kColumnThreads), 0, g, strips, piece, x, to);
  }
  if (pieces > 1) sum<T>({g.outer, pieces, g.inner}, parts.as<T>(), y);
}

template <class T>
struct Best {
  T value;
  int64_t at;
};

/// Whether b comes before a: larger (smaller), NaN before all, the first of equals.
template <class T>
__device__ bool wins(int sign, const Best<T>& a, const Best<T>& b) {
  const bool nan_a = a.value != a.value, nan_b = b.value != b.value;
  if (nan_a != nan_b) return nan_b;
  const bool better = !nan_a && (sign > 0 ? b.value > a.value : b.value < a.value);
  return better || ((nan_a || a.value == b.value) && b.at < a.at);
}

/// kLanes neighbouring threads look for the best of one column together.
template <class T, int kLanes>
__global__ void __launch_bounds__(kThreads) find_extreme(ReduceGeometry g, int sign, const T* x, T* y, int64_t* index) {
  for_each_slice<kLanes>(g.outer * g.inner, [&](int64_t i, int lane, bool is_new) {
    const T* column = x + i / g.inner * g.length * g.inner + i % g.inner;
    const int64_t begin = std::min(int64_t{lane}, g.length - 1);
    Best<T> best{column[begin * g.inner], begin};
    for (int64_t l = begin + kLanes; l < g.length; l += kLanes) {
      const Best<T> next{column[l * g.inner], l};
      if (wins(sign, best, next)) best = next;
    }
#pragma unroll
    for (int distance = kLanes / 2; distance > 0; distance /= 2) {
      const Best<T> other{__shfl_xor_sync(kWholeWarp, best.value, distance),
                          static_cast<int64_t>(__shfl_xor_sync(kWholeWarp, static_cast<long long>(best.at), distance))};
      if (wins(sign, best, other)) best = other;
    }
    if (lane == 0 && is_new) {
      y[i] = best.value;
      index[i] = best.at;
    }
  });
}

template <class T>
void extreme(const ReduceGeometry& g, int sign, const T* x, T* y, int64_t* index) {
  const int64_t count = g.outer * g.inner;
  if (g.inner == 1 && g.length >= 32) {
    launch(find_extreme<T, 32>, blocks_for(count * 32), dim3(kThreads), 0, g, sign, x, y, index);
  } else {
    launch(find_extreme<T, 1>, blocks_for(count), dim3(kThreads), 0, g, sign, x, y, index);
  }
}

template <class T>
void repeat(const ReduceGeometry& g, const T* x, T* y) {
  const WideDivisor length(g.length), inner(g.inner);
  for_each(g.outer * g.length * g.inner, [=] __device__(int64_t i) {
    const int64_t row = inner.divide(i);
    y[i] = x[length.divide(row) * g.inner + (i - row * g.inner)];
  });
}

template <class T>
void scatter(const ReduceGeometry& g, const T* gy, const int64_t* index, T* gx) {
  const WideDivisor length(g.length), inner(g.inner);
  for_each(g.outer * g.length * g.inner, [=] __device__(int64_t i) {
    const int64_t row = inner.divide(i), outer = length.divide(row), at = outer * g.inner + (i - row * g.inner);
    gx[i] = index[at] == row - outer * g.length ? gy[at] : T(0);
  });
}

template <class T>
constexpr ReduceKernels<T> kTable{sum<T>, extreme<T>, repeat<T>, scatter<T>};

}  // namespace

template <>
const ReduceKernels<float>& table() {
  return kTable<float>;
}
template <>
const ReduceKernels<double>& table() {
  return kTable<double>;
}
template <>
const ReduceKernels<int64_t>& table() {
  return kTable<int64_t>;
}

}  // namespace cnnx::cuda
