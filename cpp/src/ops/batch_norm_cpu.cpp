// Batch normalization on the CPU, a channel a task. Sums run along planes in T and over the batch in double.
#include "ops/batch_norm.h"

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

template <class T>
void forward(const BatchNormGeometry& g, const T* x, const T* mean, const T* invstd, const T* w, const T* b, T* y) {
  for_each_channel(g, [=, &g](int64_t c) {
    const T m = mean[c], scale = invstd[c] * (w ? w[c] : T(1)), shift = b ? b[c] : T(0);
    for_each_value(g, c, [=](int64_t i) { y[i] = (x[i] - m) * scale + shift; });
  });
}

template <class T>
void backward(const BatchNormGeometry& g, bool through_statistics, const T* x, const T* mean, const T* invstd,
              const T* w, const T* gy, T* gx, T* gw, T* gb) {
  const double count = static_cast<double>(g.count());
  for_each_channel(g, [=, &g](int64_t c) {
    const T m = mean[c], s = invstd[c], scale = s * (w ? w[c] : T(1));
    const double sum = sum_channel<T>(g, c, [=](int64_t i) { return gy[i]; });
    const double product = sum_channel<T>(g, c, [=](int64_t i) { return gy[i] * (x[i] - m); }) * static_cast<double>(s);
    if (gw) gw[c] = static_cast<T>(product);
    if (gb) gb[c] = static_cast<T>(sum);
    if (!gx) return;
    if (through_statistics) {
      const T average = static_cast<T>(sum / count), along = static_cast<T>(product / count) * s;
      for_each_value(g, c, [=](int64_t i) { gx[i] = scale * (gy[i] - average - (x[i] - m) * along); });
    } else {
      for_each_value(g, c, [=](int64_t i) { gx[i] = scale * gy[i]; });
    }
  });
}

template <class T>
constexpr BatchNormKernels<T> kTable{statistics<T>, forward<T>, backward<T>};

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
