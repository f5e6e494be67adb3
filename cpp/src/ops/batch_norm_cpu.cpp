// Batch normalization on the CPU, a channel a task. Sums run along planes in T and over the batch in double.
#include "ops/batch_norm.h"

#include <cmath>

#include "kernels.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

template <class F>
void for_each_channel(const BatchNormGeometry& g, F fn) {
  parallel_for(g.channels, item_grain(g.count()), [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) fn(c);
  });
}

/// The sum of fn(position) over all values of a channel.
template <class T, class F>
double sum_channel(const BatchNormGeometry& g, int64_t c, F fn) {
  double total = 0;
  for (int64_t n = 0; n < g.batch; ++n) {
    const int64_t at = (n * g.channels + c) * g.plane;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < g.plane; ++i) sum += fn(at + i);
    total += static_cast<double>(sum);
  }
  return total;
}

template <class F>
void for_each_value(const BatchNormGeometry& g, int64_t c, F fn) {
  for (int64_t n = 0; n < g.batch; ++n) {
    const int64_t at = (n * g.channels + c) * g.plane;
    for (int64_t i = at; i < at + g.plane; ++i) fn(i);
  }
}

template <class T>
void statistics(const BatchNormGeometry& g, const T* x, T* mean, T* var) {
  const double count = static_cast<double>(g.count());
  for_each_channel(g, [=, &g](int64_t c) {
    const T m = static_cast<T>(sum_channel<T>(g, c, [=](int64_t i) { return x[i]; }) / count);
    mean[c] = m;
    var[c] = static_cast<T>(sum_channel<T>(g, c, [=](int64_t i) { return (x[i] - m) * (x[i] - m); }) / count);
  });
}

// The vectors of channels are short: no threads.

template <class T>
void blend(int64_t channels, double momentum, double factor, const T* batch, T* running) {
  for (int64_t c = 0; c < channels; ++c) {
    running[c] = static_cast<T>((1 - momentum) * static_cast<double>(running[c]) +
                                momentum * factor * static_cast<double>(batch[c]));
  }
}

template <class T>
void inverse_deviation(int64_t channels, double eps, const T* var, T* invstd) {
  for (int64_t c = 0; c < channels; ++c) invstd[c] = static_cast<T>(1 / std::sqrt(static_cast<double>(var[c]) + eps));
}

template <class T>
void affine(int64_t channels, double eps, const T* mean, const T* var, const T* w, const T* b, T* scale, T* shift) {
  for (int64_t c = 0; c < channels; ++c) {
    const double factor = (w ? static_cast<double>(w[c]) : 1) / std::sqrt(static_cast<double>(var[c]) + eps);
    scale[c] = static_cast<T>(factor);
    shift[c] = static_cast<T>((b ? static_cast<double>(b[c]) : 0) - static_cast<double>(mean[c]) * factor);
  }
}

/// The normalization of one channel as the forward pass computes it: (x - mean) * scale + shift.
template <class T>
struct Channel {
  T mean, scale, shift;
  T operator()(T x) const { return (x - mean) * scale + shift; }
};

template <class T>
void forward(const BatchNormGeometry& g, const T* x, const T* mean, const T* invstd, const T* w, const T* b,
             const T* residual, bool relu, T* y) {
  for_each_channel(g, [=, &g](int64_t c) {
    const Channel<T> norm{mean[c], invstd[c] * (w ? w[c] : T(1)), b ? b[c] : T(0)};
    const auto write = [&](auto value) {
      if (relu) {
        for_each_value(g, c, [=](int64_t i) {
          const T v = value(i);
          y[i] = v < T(0) ? T(0) : v;
        });
      } else {
        for_each_value(g, c, [=](int64_t i) { y[i] = value(i); });
      }
    };
    if (residual) {
      write([=](int64_t i) { return norm(x[i]) + residual[i]; });
    } else {
      write([=](int64_t i) { return norm(x[i]); });
    }
  });
}

/// One channel's gradients, from gy(position).
template <class T, class F>
void backward_channel(const BatchNormGeometry& g, int64_t c, bool through_statistics, const T* x, T mean, T invstd,
                      T scale, F gy, T* gx, T* gw, T* gb) {
  double sum = 0, product = 0;
  for (int64_t n = 0; n < g.batch; ++n) {
    const int64_t at = (n * g.channels + c) * g.plane;
    T part = 0, part_product = 0;
#pragma omp simd reduction(+ : part, part_product)
    for (int64_t i = at; i < at + g.plane; ++i) {
      const T value = gy(i);
      part += value;
      part_product += value * (x[i] - mean);
    }
    sum += static_cast<double>(part);
    product += static_cast<double>(part_product);
  }
  product *= static_cast<double>(invstd);
  if (gw) gw[c] = static_cast<T>(product);
  if (gb) gb[c] = static_cast<T>(sum);
  if (!gx) return;
  if (through_statistics) {
    const double count = static_cast<double>(g.count());
    const T average = static_cast<T>(sum / count), along = static_cast<T>(product / count) * invstd;
    for_each_value(g, c, [=](int64_t i) { gx[i] = scale * (gy(i) - average - (x[i] - mean) * along); });
  } else {
    for_each_value(g, c, [=](int64_t i) { gx[i] = scale * gy(i); });
  }
}

template <class T>
void backward(const BatchNormGeometry& g, bool through_statistics, bool relu, const T* x, const T* mean,
              const T* invstd, const T* w, const T* b, const T* gy, T* gx, T* gw, T* gb) {
  for_each_channel(g, [=, &g](int64_t c) {
    const Channel<T> norm{mean[c], invstd[c] * (w ? w[c] : T(1)), b ? b[c] : T(0)};
    if (relu) {
      backward_channel(
          g, c, through_statistics, x, mean[c], invstd[c], norm.scale,
          [=](int64_t i) { return norm(x[i]) <= T(0) ? T(0) : gy[i]; }, gx, gw, gb);
    } else {
      backward_channel(
          g, c, through_statistics, x, mean[c], invstd[c], norm.scale, [=](int64_t i) { return gy[i]; }, gx, gw, gb);
    }
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

}  // namespace cnnx::CNNX_ISA
