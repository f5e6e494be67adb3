// Checks and reductions that the losses over classes share.
#include "ops/class_loss.h"

#include <utility>

#include "check.h"
#include "kernels.h"
#include "tensor_impl.h"

namespace cnnx {

ClassLossGeometry class_loss_geometry(const char* op, const Tensor& scores, Tensor& targets, const Tensor& weight,
                                      const int64_t* ignore_index) {
  check_floating(op, scores);
  check(scores.rank() >= 1, op, "expected scores of shape (N, classes) or (N, classes, ...); got shape {}.",
        scores.shape());
  check(targets.defined() && targets.dtype() == DType::kInt64, op,
        "targets must be class numbers of dtype int64; got {}.",
        targets.defined() ? dtype_name(targets.dtype()) : "none");
  check_same_device(op, scores, targets);
  const bool batched = scores.rank() > 1;
  ClassLossGeometry g{batched ? scores.size(0) : 1, scores.size(batched ? 1 : 0), 1};
  Shape expected;
  if (batched) expected.push_back(g.items);
  for (int axis = 2; axis < scores.rank(); ++axis) {
    g.inner *= scores.size(axis);
    expected.push_back(scores.size(axis));
  }
  check(targets.shape() == expected, op, "expected targets of shape {} for scores of shape {}; got {}.", expected,
        scores.shape(), targets.shape());
  check(g.classes > 0 || g.count() == 0, op, "expected at least one class; got scores of shape {}.", scores.shape());
  check_like(op, kClassWeights, scores, weight);
  check(!weight.defined() || weight.shape() == Shape{g.classes}, op, "expected class weights of shape ({},); got {}.",
        g.classes, weight.defined() ? weight.shape() : Shape());
  const TargetRule rule{op, g.classes, ignore_index != nullptr, ignore_index ? *ignore_index : 0};
  Tensor copy = empty_like(targets);
  dispatch_floating(scores.dtype(), [&](auto t) {
    const auto* const given = std::as_const(targets).data<int64_t>();
    const int64_t wrong =
        kernels<LossKernels<decltype(t)>>(targets.device()).copy_targets(rule, g.count(), given, copy.data<int64_t>());
    if (wrong > 0) fail<std::out_of_range>(op, kTargetRule, g.classes, given[wrong - 1], wrong - 1);
  });
  targets = copy;
  return g;
}

Tensor reduce_losses(const Tensor& losses, const Shape& targets, Reduction reduction, const Tensor& factor) {
  if (reduction == Reduction::kNone) return losses.reshape(targets);
  Tensor total = empty_like(losses, {});
  dispatch_floating(losses.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<LossKernels<T>>(losses.device())
        .total(losses.numel(), losses.data<T>(), data_or_null<double>(factor), total.data<T>());
  });
  return total;
}

}  // namespace cnnx
