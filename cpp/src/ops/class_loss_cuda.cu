// Checked targets, and totals of losses, on CUDA.
#include "ops/class_loss.h"

#include "cuda/checks.h"

namespace cnnx::cuda {
namespace {

int64_t copy_targets(const TargetRule& rule, int64_t n, const int64_t* from, int64_t* to) {
  check_all(
      n,
      [=] __device__(int64_t i) {
        const int64_t target = from[i];
        const bool allowed = rule.allows(target);
        to[i] = allowed ? target : rule.nearest(target);
        return allowed;
      },
      [=, text = kTargetRule] __device__(FailedCheck* check, long long i) {
        *check = {rule.op, text, {rule.classes, from[i], i}};
      });
  return 0;
}

template <class T>
void mean_factor(int64_t n, int64_t ignored, const int64_t* targets, const T* w, double* factor) {
  reduce_all(
      n,
      [=] __device__(int64_t i) { return targets[i] == ignored ? 0.0
                                         : w                   ? static_cast<double>(w[targets[i]])
                                                               : 1.0; },
      Plus(), 0.0, [=] __device__(double sum) { *factor = 1 / sum; });
}

template <class T>
void total(int64_t n, const T* losses, const double* factor, T* y) {
  reduce_all(
      n, [=] __device__(int64_t i) { return static_cast<double>(losses[i]); }, Plus(), 0.0,
      [=] __device__(double sum) { *y = static_cast<T>(factor ? sum * *factor : sum); });
}

template <class T>
constexpr LossKernels<T> kTable{copy_targets, mean_factor<T>, total<T>};

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
