// softmax and log_softmax on CUDA. A warp takes one contiguous slice; slices whose values lie apart take a thread each,
// so that neighbouring threads read neighbours.
#include "ops/softmax.h"

#include <cmath>

#include "cuda/reduce.h"

namespace cnnx::cuda {
namespace {

template <class T, int kLanes>
__global__ void __launch_bounds__(kThreads) forward_kernel(ReduceGeometry g, bool logarithm, const T* x, T* y) {
  for_each_slice<kLanes>(g.outer * g.inner, [&](int64_t slice, int lane, bool) {
    const int64_t first = slice / g.inner * g.length * g.inner + slice % g.inner;
    T largest = x[first];
    for (int64_t l = lane; l < g.length; l += kLanes) largest = Larger()(largest, x[first + l * g.inner]);
    largest = reduce_lanes<kLanes>(largest, Larger());
    T sum = 0;
    for (int64_t l = lane; l < g.length; l += kLanes) sum += std::exp(x[first + l * g.inner] - largest);
    sum = reduce_lanes<kLanes>(sum, Plus());
    const T shift = largest + std::log(sum), scale = T(1) / sum;
    for (int64_t l = lane; l < g.length; l += kLanes) {
      const T value = x[first + l * g.inner];
      y[first + l * g.inner] = logarithm ? value - shift : std::exp(value - largest) * scale;
    }
  });
}

template <class T, int kLanes>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(ReduceGeometry g, bool logarithm, const T* y, const T* gy, T* gx) {
  for_each_slice<kLanes>(g.outer * g.inner, [&](int64_t slice, int lane, bool) {
    const int64_t first = slice / g.inner * g.length * g.inner + slice % g.inner;
    T sum = 0;
    for (int64_t l = lane; l < g.length; l += kLanes) {
      const int64_t at = first + l * g.inner;
      sum += logarithm ? gy[at] : gy[at] * y[at];
    }
    sum = reduce_lanes<kLanes>(sum, Plus());
    for (int64_t l = lane; l < g.length; l += kLanes) {
      const int64_t at = first + l * g.inner;
      gx[at] = logarithm ? gy[at] - std::exp(y[at]) * sum : (gy[at] - sum) * y[at];
    }
  });
}

template <class T>
void forward(const ReduceGeometry& g, bool logarithm, const T* x, T* y) {
  const int64_t slices = g.outer * g.inner;
  if (slices == 0 || g.length == 0) return;
  if (g.inner == 1) {
    launch(forward_kernel<T, 32>, blocks_for(slices * 32), dim3(kThreads), 0, g, logarithm, x, y);
  } else {
    launch(forward_kernel<T, 1>, blocks_for(slices), dim3(kThreads), 0, g, logarithm, x, y);
  }
}

template <class T>
void backward(const ReduceGeometry& g, bool logarithm, const T* y, const T* gy, T* gx) {
  const int64_t slices = g.outer * g.inner;
  if (slices == 0 || g.length == 0) return;
  if (g.inner == 1) {
    launch(backward_kernel<T, 32>, blocks_for(slices * 32), dim3(kThreads), 0, g, logarithm, y, gy, gx);
  } else {
    launch(backward_kernel<T, 1>, blocks_for(slices), dim3(kThreads), 0, g, logarithm, y, gy, gx);
  }
}

template <class T>
constexpr SoftmaxKernels<T> kTable{forward<T>, backward<T>};

}  // namespace

template <>
const SoftmaxKernels<float>& table() {
  return kTable<float>;
}
template <>
const SoftmaxKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::cuda
