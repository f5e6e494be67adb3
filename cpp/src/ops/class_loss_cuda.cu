// Totals of losses on CUDA.
#include "ops/class_loss.h"

#include "cuda/reduce.h"

namespace cnnx::cuda {
namespace {

/// One block: the losses of a batch are few.
template <class T>
__global__ void __launch_bounds__(kThreads) total_kernel(int64_t n, const T* losses, double divisor, T* y) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) sum += static_cast<double>(losses[i]);
  sum = reduce_block(sum, Plus());
  if (threadIdx.x == 0) *y = static_cast<T>(sum / divisor);
}

template <class T>
void total(int64_t n, const T* losses, double divisor, T* y) {
  launch(total_kernel<T>, dim3(1), dim3(kThreads), 0, n, losses, divisor, y);
}

template <class T>
constexpr LossKernels<T> kTable{total<T>};

}  // namespace

template <>
const LossKernels<float>& table() {
  return kTable<float>;
}
template <>
const LossKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::cuda
