// Group, layer and instance normalization on CUDA: a block adds up one row, about the row's own mean.
#include "ops/group_norm.h"

#include <cmath>

#include "cuda/reduce.h"

namespace cnnx::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kThreads) row_statistics(int64_t length, const T* x, T* mean, T* var) {
  __shared__ T shared_mean;
  const int64_t row = blockIdx.x;
  const T* const values = x + row * length;
  T sum = 0;
  for (int64_t i = threadIdx.x; i < length; i += kThreads) sum += values[i];
  sum = reduce_block(sum, Plus());
  if (threadIdx.x == 0) shared_mean = sum / static_cast<T>(length);
  __syncthreads();
  const T middle = shared_mean;
  T squares = 0;
  for (int64_t i = threadIdx.x; i < length; i += kThreads) squares += (values[i] - middle) * (values[i] - middle);
  squares = reduce_block(squares, Plus());
  if (threadIdx.x == 0) {
    mean[row] = middle;
    var[row] = squares / static_cast<T>(length);
  }
}

/// Row and weight of a value, and the value normalised.
template <class T>
struct Rows {
  Rows(const GroupNormGeometry& g, const T* values, const T* means, const T* variances, const T* weights)
      : length(g.row_values()),
        plane(g.plane),
        per_row(std::max<int64_t>(1, length)),
        per_plane(std::max<int64_t>(1, plane)),
        per_image(g.groups),
        groups(g.groups),
        channels(g.channels),
        eps(static_cast<T>(g.eps)),
        x(values),
        mean(means),
        var(variances),
        w(weights) {}

  int64_t length, plane;
  WideDivisor per_row, per_plane, per_image;  // values, values and rows
  int64_t groups, channels;
  T eps;
  const T *x, *mean, *var, *w;  // w may be null: ones

  __device__ int64_t weight_of(int64_t i) const {
    const int64_t row = per_row.divide(i), group = row - per_image.divide(row) * groups;
    return group * channels + per_plane.divide(i - row * length);
  }
  __device__ T deviation(int64_t row) const { return T(1) / std::sqrt(var[row] + eps); }
  __device__ T normalized(int64_t i) const {
    const int64_t row = per_row.divide(i);
    return (x[i] - mean[row]) * deviation(row);
  }
  __device__ T weight(int64_t i) const { return w ? w[weight_of(i)] : T(1); }
};

int64_t forward_bytes(const GroupNormGeometry&) { return 0; }

template <class T>
void forward(const GroupNormGeometry& g, const T* x, const T* w, const T* b, T* y, T* mean, T* var, void*) {
  launch(row_statistics<T>, dim3(static_cast<unsigned>(g.rows())), dim3(kThreads), 0, g.row_values(), x, mean, var);
  const Rows<T> rows(g, x, mean, var, w);
  for_each(g.rows() * g.row_values(), [=] __device__(int64_t i) {
    y[i] = rows.normalized(i) * rows.weight(i) + (b ? b[rows.weight_of(i)] : T(0));
  });
}

/// The means over a row of its gradients, and of their products with the normalised values.
template <class T>
__global__ void __launch_bounds__(kThreads) row_means(Rows<T> rows, const T* gy, T* means) {
  const int64_t row = blockIdx.x;
  T sum = 0, product = 0;
  for (int64_t i = row * rows.length + threadIdx.x; i < (row + 1) * rows.length; i += kThreads) {
    const T value = gy[i] * rows.weight(i);
    sum += value;
    product += value * rows.normalized(i);
  }
  sum = reduce_block(sum, Plus());
  product = reduce_block(product, Plus());
  if (threadIdx.x != 0) return;
  means[2 * row] = sum / static_cast<T>(rows.length);
  means[2 * row + 1] = product / static_cast<T>(rows.length);
}

/// Gradients of one weight and bias, out of one plane of every image. A warp takes one, or a thread where planes are
/// short.
template <class T, int kLanes>
__global__ void __launch_bounds__(kThreads) weight_kernel(Rows<T> rows, int64_t batch, const T* gy, T* gw, T* gb) {
  const int64_t weights = rows.groups * rows.channels;
  for_each_slice<kLanes>(weights, [&](int64_t weight, int lane, bool) {
    T product = 0, sum = 0;
    for (int64_t n = 0; n < batch; ++n) {
      const int64_t first = (n * weights + weight) * rows.plane, row = rows.per_row.divide(first);
      const T mean = rows.mean[row], deviation = rows.deviation(row);
      for (int64_t i = first + lane; i < first + rows.plane; i += kLanes) {
        product += gy[i] * ((rows.x[i] - mean) * deviation);
        sum += gy[i];
      }
    }
    product = reduce_lanes<kLanes>(product, Plus());
    sum = reduce_lanes<kLanes>(sum, Plus());
    if (lane == 0 && gw) gw[weight] = product;
    if (lane == 0 && gb) gb[weight] = sum;
  });
}

template <class T>
int64_t backward_bytes(const GroupNormGeometry& g) {
  return g.rows() * 2 * static_cast<int64_t>(sizeof(T));
}

template <class T>
void backward(const GroupNormGeometry& g, const T* x, const T* mean, const T* var, const T* w, const T* gy, T* gx,
              T* gw, T* gb, void* workspace) {
  const Rows<T> rows(g, x, mean, var, w);
  if (gx) {
    T* const means = static_cast<T*>(workspace);
    launch(row_means<T>, dim3(static_cast<unsigned>(g.rows())), dim3(kThreads), 0, rows, gy, means);
    for_each(g.rows() * g.row_values(), [=] __device__(int64_t i) {
      const int64_t row = rows.per_row.divide(i);
      gx[i] = rows.deviation(row) * (gy[i] * rows.weight(i) - means[2 * row] - rows.normalized(i) * means[2 * row + 1]);
    });
  }
  if (!gw && !gb) return;
  if (g.plane >= 32) {
    launch(weight_kernel<T, 32>, blocks_for(g.weights() * 32), dim3(kThreads), 0, rows, g.batch, gy, gw, gb);
  } else {
    launch(weight_kernel<T, 1>, blocks_for(g.weights()), dim3(kThreads), 0, rows, g.batch, gy, gw, gb);
  }
}

template <class T>
void blend(const GroupNormGeometry& g, double momentum, double factor, const T* statistics, T* running) {
  const int64_t batch = g.batch, groups = g.groups;
  for_each(groups, [=] __device__(int64_t c) {
    double sum = 0;
    for (int64_t n = 0; n < batch; ++n) sum += static_cast<double>(statistics[n * groups + c]);
    running[c] = static_cast<T>((1 - momentum) * static_cast<double>(running[c]) +
                                momentum * factor * sum / static_cast<double>(batch));
  });
}

template <class T>
constexpr GroupNormKernels<T> kTable{forward_bytes, forward<T>, backward_bytes<T>, backward<T>, blend<T>};

}  // namespace

template <>
const GroupNormKernels<float>& table() {
  return kTable<float>;
}
template <>
const GroupNormKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::cuda
