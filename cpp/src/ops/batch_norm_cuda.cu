// Batch normalization on CUDA. Sums of a channel are taken piece by piece, a block a piece, and put together in double.
//
// The variance of a piece is taken about the piece's own mean, from values that are still in registers, and pieces are
// joined as Chan, Golub and LeVeque do: one pass over memory, without the cancellation of a sum of squares.
#include "ops/batch_norm.h"

#include <cmath>

#include "cuda/fours.h"
#include "cuda/reduce.h"

namespace cnnx::cuda {
namespace {

constexpr int kItems = 16;
constexpr int64_t kPiece = int64_t{kItems} * kThreads;  // values of a channel that a block takes

/// Values of the piece that begins there.
__device__ int64_t piece_length(int64_t count, int64_t begin) {
  return count - begin < kPiece ? count - begin : kPiece;
}

/// Where value i of a channel lies, and which channel a value is of.
template <class D>
struct Walk {
  explicit Walk(const BatchNormGeometry& g)
      : plane(std::max<int64_t>(1, g.plane)), channels(g.channels), count(g.count()) {}
  D plane, channels;
  int64_t count;

  __device__ int64_t at(int64_t i, int64_t c) const {
    const int64_t n = plane.divide(static_cast<decltype(plane.value)>(i)), length = plane.value;
    return (n * channels.value + c) * length + (i - n * length);
  }
  __device__ int64_t channel(int64_t at) const {
    const auto row = plane.divide(static_cast<decltype(plane.value)>(at));
    return row - channels.divide(row) * channels.value;
  }
};

/// Calls fn(walk) with the fast walk where the numbers allow it.
template <class F>
void with_walk(const BatchNormGeometry& g, F&& fn) {
  if (is_small(g.count() * g.channels)) return fn(Walk<Divisor>(g));
  fn(Walk<WideDivisor>(g));
}

/// Mean, and sum of squared distances from it, of one piece: parts[(channel * pieces + piece) * 2 + 0 and 1].
template <class T, class W>
__global__ void __launch_bounds__(kThreads) piece_statistics(W walk, unsigned pieces, const T* x, T* parts) {
  __shared__ T shared_mean;
  const int64_t c = blockIdx.x / pieces, begin = blockIdx.x % pieces * kPiece, n = piece_length(walk.count, begin);
  T values[kItems];
  T sum = 0;
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    const int64_t i = int64_t{k} * kThreads + threadIdx.x;
    values[k] = i < n ? x[walk.at(begin + i, c)] : T(0);
    sum += values[k];
  }
  sum = reduce_block(sum, Plus());
  if (threadIdx.x == 0) shared_mean = sum / static_cast<T>(n);
  __syncthreads();
  const T mean = shared_mean;
  T squares = 0;
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    const T distance = int64_t{k} * kThreads + threadIdx.x < n ? values[k] - mean : T(0);
    squares += distance * distance;
  }
  squares = reduce_block(squares, Plus());
  if (threadIdx.x == 0) {
    T* const part = parts + int64_t{blockIdx.x} * 2;
    part[0] = mean;
    part[1] = squares;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    join_statistics(int64_t count, int64_t pieces, const T* parts, T* mean, T* var) {
  __shared__ double shared_mean;
  const int64_t c = blockIdx.x;
  const T* part = parts + c * pieces * 2;
  double sum = 0;
  for (int64_t i = threadIdx.x; i < pieces; i += kThreads) {
    sum += static_cast<double>(part[i * 2]) * static_cast<double>(piece_length(count, i * kPiece));
  }
  sum = reduce_block(sum, Plus());
  if (threadIdx.x == 0) shared_mean = sum / static_cast<double>(count);
  __syncthreads();
  double squares = 0;
  for (int64_t i = threadIdx.x; i < pieces; i += kThreads) {
    const double distance = static_cast<double>(part[i * 2]) - shared_mean;
    squares += static_cast<double>(part[i * 2 + 1]) +
               distance * distance * static_cast<double>(piece_length(count, i * kPiece));
  }
  squares = reduce_block(squares, Plus());
  if (threadIdx.x == 0) {
    mean[c] = static_cast<T>(shared_mean);
    var[c] = static_cast<T>(squares / static_cast<double>(count));
  }
}

int64_t pieces_of(const BatchNormGeometry& g) { return ceil_div(g.count(), kPiece); }

template <class T>
void statistics(const BatchNormGeometry& g, const T* x, T* mean, T* var) {
  const int64_t pieces = pieces_of(g), blocks = g.channels * pieces;
  const Scratch parts(blocks * 2 * static_cast<int64_t>(sizeof(T)));
  with_walk(g, [&](const auto& walk) {
    launch(piece_statistics<T, std::decay_t<decltype(walk)>>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0,
           walk, static_cast<unsigned>(pieces), x, parts.as<T>());
  });
  launch(join_statistics<T>, dim3(static_cast<unsigned>(g.channels)), dim3(kThreads), 0, g.count(), pieces,
         parts.as<T>(), mean, var);
}

template <class T>
void blend(int64_t channels, double momentum, double factor, const T* batch, T* running) {
  for_each(channels, [=] __device__(int64_t c) {
    running[c] = static_cast<T>((1 - momentum) * static_cast<double>(running[c]) +
                                momentum * factor * static_cast<double>(batch[c]));
  });
}

template <class T>
void inverse_deviation(int64_t channels, double eps, const T* var, T* invstd) {
  for_each(channels,
           [=] __device__(int64_t c) { invstd[c] = static_cast<T>(1 / std::sqrt(static_cast<double>(var[c]) + eps)); });
}

template <class T>
void affine(int64_t channels, double eps, const T* mean, const T* var, const T* w, const T* b, T* scale, T* shift) {
  for_each(channels, [=] __device__(int64_t c) {
    const double factor = (w ? static_cast<double>(w[c]) : 1) / std::sqrt(static_cast<double>(var[c]) + eps);
    scale[c] = static_cast<T>(factor);
    shift[c] = static_cast<T>((b ? static_cast<double>(b[c]) : 0) - static_cast<double>(mean[c]) * factor);
  });
}

/// The normalization as the forward pass computes it: (x - mean) * scale + shift.
template <class T>
struct Norm {
  const T *mean, *invstd, *w, *b;
  __device__ T scale(int64_t c) const { return invstd[c] * (w ? w[c] : T(1)); }
  __device__ T operator()(T x, int64_t c) const { return (x - mean[c]) * scale(c) + (b ? b[c] : T(0)); }
  __device__ T output(T x, T shortcut, bool relu, int64_t c) const {
    const T value = (*this)(x, c) + shortcut;
    return relu && value < T(0) ? T(0) : value;
  }
};

/// Whether fours of these arrays are of one channel each.
template <class W, class... P>
bool has_fours(const W& walk, const P*... pointers) {
  return walk.plane.value % 4 == 0 && begin_fours(pointers...);
}

template <class T, class W>
void normalize(int64_t n, const W& walk, const Norm<T>& norm, const T* x, const T* residual, bool relu, T* y) {
  if (has_fours(walk, x, residual, y)) {
    for_each(n / 4, [=] __device__(int64_t i) {
      const int64_t c = walk.channel(i * 4);
      Four<T> four = four_at(x, i * 4);
      const Four<T> shortcut = residual ? four_at(residual, i * 4) : Four<T>{};
#pragma unroll
      for (int k = 0; k < 4; ++k) four.value[k] = norm.output(four.value[k], shortcut.value[k], relu, c);
      put_four(y, i * 4, four);
    });
    return;
  }
  for_each(
      n, [=] __device__(int64_t i) { y[i] = norm.output(x[i], residual ? residual[i] : T(0), relu, walk.channel(i)); });
}

template <class T>
void forward(const BatchNormGeometry& g, const T* x, const T* mean, const T* invstd, const T* w, const T* b,
             const T* residual, bool relu, T* y) {
  const Norm<T> norm{mean, invstd, w, b};
  with_walk(g, [&](const auto& walk) { normalize(g.count() * g.channels, walk, norm, x, residual, relu, y); });
}

/// The gradient that reaches the normalization: through ReLU where there is one.
template <class T>
struct Incoming {
  Norm<T> norm;
  bool relu;
  const T *x, *gy;
  /// Whether the ReLU after it lets nothing through where x is `value`.
  __device__ bool is_stopped(T value, int64_t c) const { return relu && norm(value, c) <= T(0); }
  /// What goes on to the input: all but what means of join_sums() take off, unless they are null.
  __device__ T input(T value, T gradient, const T* means, int64_t c) const {
    T rest = is_stopped(value, c) ? T(0) : gradient;
    if (means) rest -= means[2 * c] + (value - norm.mean[c]) * means[2 * c + 1];
    return norm.scale(c) * rest;
  }
};

/// Sums of the gradients, and of their products with x - mean, of one piece.
template <class T, class W>
__global__ void __launch_bounds__(kThreads) piece_sums(W walk, unsigned pieces, Incoming<T> incoming, double* parts) {
  const int64_t c = blockIdx.x / pieces, begin = blockIdx.x % pieces * kPiece,
                end = begin + piece_length(walk.count, begin);
  const T mean = incoming.norm.mean[c];
  T sum = 0, product = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    const int64_t at = walk.at(i, c);
    const T x = incoming.x[at], value = incoming.is_stopped(x, c) ? T(0) : incoming.gy[at];
    sum += value;
    product += value * (x - mean);
  }
  sum = reduce_block(sum, Plus());
  product = reduce_block(product, Plus());
  if (threadIdx.x == 0) {
    double* const part = parts + int64_t{blockIdx.x} * 2;
    part[0] = static_cast<double>(sum);
    part[1] = static_cast<double>(product);
  }
}

/// gw, gb (either may be null) and what is subtracted from every gradient: means[2 c] and, times x - mean, means[2 c +
/// 1].
template <class T>
__global__ void __launch_bounds__(kThreads)
    join_sums(int64_t count, int64_t pieces, const double* parts, const T* invstd, T* gw, T* gb, T* means) {
  const int64_t c = blockIdx.x;
  double sum = 0, product = 0;
  for (int64_t i = threadIdx.x; i < pieces; i += kThreads) {
    sum += parts[(c * pieces + i) * 2];
    product += parts[(c * pieces + i) * 2 + 1];
  }
  sum = reduce_block(sum, Plus());
  product = reduce_block(product, Plus()) * static_cast<double>(invstd[c]);
  if (threadIdx.x != 0) return;
  if (gw) gw[c] = static_cast<T>(product);
  if (gb) gb[c] = static_cast<T>(sum);
  means[2 * c] = static_cast<T>(sum / static_cast<double>(count));
  means[2 * c + 1] = static_cast<T>(product / static_cast<double>(count)) * invstd[c];
}

template <class T, class W>
void input_gradient(const BatchNormGeometry& g, const W& walk, const Incoming<T>& incoming, const T* means, T* gx) {
  if (has_fours(walk, incoming.x, incoming.gy, gx)) {
    for_each(g.count() * g.channels / 4, [=] __device__(int64_t i) {
      const int64_t c = walk.channel(i * 4);
      const Four<T> x = four_at(incoming.x, i * 4);
      Four<T> four = four_at(incoming.gy, i * 4);
#pragma unroll
      for (int k = 0; k < 4; ++k) four.value[k] = incoming.input(x.value[k], four.value[k], means, c);
      put_four(gx, i * 4, four);
    });
    return;
  }
  for_each(g.count() * g.channels, [=] __device__(int64_t i) {
    gx[i] = incoming.input(incoming.x[i], incoming.gy[i], means, walk.channel(i));
  });
}

template <class T>
void backward(const BatchNormGeometry& g, bool through_statistics, bool relu, const T* x, const T* mean,
              const T* invstd, const T* w, const T* b, const T* gy, T* gx, T* gw, T* gb) {
  const Incoming<T> incoming{{mean, invstd, w, b}, relu, x, gy};
  const int64_t pieces = pieces_of(g), blocks = g.channels * pieces;
  const bool wants_sums = gw || gb || (gx && through_statistics);
  const Scratch parts(wants_sums ? blocks * 2 * static_cast<int64_t>(sizeof(double)) : 0);
  const Scratch means(wants_sums ? g.channels * 2 * static_cast<int64_t>(sizeof(T)) : 0);
  with_walk(g, [&](const auto& walk) {
    if (wants_sums) {
      launch(piece_sums<T, std::decay_t<decltype(walk)>>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, walk,
             static_cast<unsigned>(pieces), incoming, parts.as<double>());
      launch(join_sums<T>, dim3(static_cast<unsigned>(g.channels)), dim3(kThreads), 0, g.count(), pieces,
             parts.as<double>(), invstd, gw, gb, means.as<T>());
    }
    if (gx) input_gradient(g, walk, incoming, through_statistics ? means.as<T>() : nullptr, gx);
  });
}

template <class T>
constexpr BatchNormKernels<T> kTable{statistics<T>, blend<T>, inverse_deviation<T>, affine<T>, forward<T>, backward<T>};

}  // namespace

template <>
const BatchNormKernels<float>& table() {
  return kTable<float>;
}
template <>
const BatchNormKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::cuda
