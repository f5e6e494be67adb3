// Checked targets, and the sum of losses, on the CPU.
#include "kernels.h"
#include "ops/class_loss.h"

namespace cnnx::CNNX_ISA {
namespace {

int64_t copy_targets(const TargetRule& rule, int64_t n, const int64_t* from, int64_t* to) {
  int64_t wrong = 0;
  for (int64_t i = 0; i < n; ++i) {
    const bool allowed = rule.allows(from[i]);
    to[i] = allowed ? from[i] : rule.nearest(from[i]);
    if (!allowed && wrong == 0) wrong = i + 1;
  }
  return wrong;
}

template <class T>
void mean_factor(int64_t n, int64_t ignored, const int64_t* targets, const T* w, double* factor) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (targets[i] != ignored) sum += w ? static_cast<double>(w[targets[i]]) : 1;
  }
  *factor = 1 / sum;
}

template <class T>
void total(int64_t n, const T* losses, const double* factor, T* y) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(losses[i]);
  *y = static_cast<T>(factor ? sum * *factor : sum);
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

}  // namespace cnnx::CNNX_ISA
