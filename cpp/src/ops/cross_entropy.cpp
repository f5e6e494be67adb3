// Cross-entropy: log-softmax and negative log-likelihood in one. The mean is weighted by the targets' class weights.
#include "ops/cross_entropy.h"

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "tensor_impl.h"

namespace cnnx {
namespace {

/// Sum of the targets' weights, ignored ones left out: what the mean divides by.
double total_weight(const CrossEntropyGeometry& g, const Tensor& targets, const Tensor& weight) {
  if (targets.device().is_meta()) return static_cast<double>(g.count());
  const std::vector<double> weights = weight.defined() ? weight.to_vector() : std::vector<double>();
  const Tensor host = targets.to(Device());
  const auto* target = host.data<int64_t>();
  double total = 0;
  for (int64_t i = 0; i < g.count(); ++i) {
    if (target[i] != g.ignore_index) total += weights.empty() ? 1 : weights[static_cast<size_t>(target[i])];
  }
  return total;
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& given_targets, const CrossEntropyOptions& options) {
  constexpr const char* kOp = "cross_entropy";
  const Tensor& weight = options.weight;
  Tensor targets = given_targets;
  check(options.label_smoothing >= 0 && options.label_smoothing <= 1, kOp,
        "label_smoothing must lie in [0, 1]; got {}.", options.label_smoothing);
  const CrossEntropyGeometry g{class_loss_geometry(kOp, logits, targets, weight, &options.ignore_index),
                               options.ignore_index, options.label_smoothing};
  Tensor losses = empty_like(logits, {g.count()}), lse = empty_like(losses);
  dispatch_floating(logits.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<CrossEntropyKernels<T>>(logits.device())
        .forward(g, logits.data<T>(), targets.data<int64_t>(), weight.defined() ? weight.data<T>() : nullptr,
                 losses.data<T>(), lse.data<T>());
  });
  const double divisor = options.reduction == Reduction::kMean ? total_weight(g, targets, weight) : 1;
  const Tensor y = reduce_losses(losses, targets.shape(), options.reduction, divisor);
  if (!grad_needed({&logits})) return y;
  const bool shared = options.reduction != Reduction::kNone;
  return record(kOp, y, {&logits}, [=, saved_x = save(logits), saved_w = save(weight)](const Tensor& gy) -> Gradients {
    const Tensor& x = saved_x.get(kOp);
    const Tensor& w = saved_w.get(kOp);
    Tensor gx = empty_like(x);
    dispatch_floating(gy.dtype(), [&](auto t) {
      using T = decltype(t);
      kernels<CrossEntropyKernels<T>>(gy.device())
          .backward(g, x.data<T>(), targets.data<int64_t>(), w.defined() ? w.data<T>() : nullptr, lse.data<T>(),
                    {gy.data<T>(), static_cast<T>(1 / divisor), shared}, gx.data<T>());
    });
    return {gx};
  });
}

}  // namespace cnnx
