// Cross-entropy: log-softmax and negative log-likelihood in one. The mean is weighted by the targets' class weights.
#include "ops/cross_entropy.h"

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {

/// 1 over the sum of the targets' weights, ignored ones left out: the mean's factor.
Tensor mean_factor(const CrossEntropyGeometry& g, DType dtype, const Tensor& targets, const Tensor& weight) {
  Tensor factor = empty({}, {DType::kFloat64, targets.device()});
  dispatch_floating(dtype, [&](auto t) {
    using T = decltype(t);
    kernels<LossKernels<T>>(targets.device())
        .mean_factor(g.count(), g.ignore_index, targets.data<int64_t>(), data_or_null<T>(weight),
                     factor.data<double>());
  });
  return factor;
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& given_targets, const CrossEntropyOptions& options) {
  constexpr const char* kOp = "cross_entropy";
  const Tensor& weight = options.weight;
  Tensor targets = given_targets;
  check(options.label_smoothing >= 0 && options.label_smoothing <= 1, kOp,
        "label_smoothing must lie in [0, 1]; got {}.", options.label_smoothing);
  if (is_16_bit(logits)) {
    check_like_or_float32(kOp, kClassWeights, logits, weight);
    const auto loss = [&](const Tensor& wide, const Tensor& wide_weight) {
      CrossEntropyOptions wide_options = options;
      wide_options.weight = wide_weight;
      return cross_entropy(wide, targets, wide_options);
    };
    return in_float32(wide_result(logits), loss, logits, weight);
  }
  const CrossEntropyGeometry g{class_loss_geometry(kOp, logits, targets, weight, &options.ignore_index),
                               options.ignore_index, options.label_smoothing};
  Tensor losses = empty_like(logits, {g.count()}), lse = empty_like(losses);
  dispatch_floating(logits.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<CrossEntropyKernels<T>>(logits.device())
        .forward(g, logits.data<T>(), targets.data<int64_t>(), data_or_null<T>(weight), losses.data<T>(),
                 lse.data<T>());
  });
  const bool is_mean = options.reduction == Reduction::kMean;
  const Tensor factor = is_mean ? mean_factor(g, logits.dtype(), targets, weight) : Tensor();
  const Tensor y = reduce_losses(losses, targets.shape(), options.reduction, factor);
  if (!grad_needed({&logits})) return y;
  const bool shared = options.reduction != Reduction::kNone;
  return record(kOp, y, {&logits}, [=, saved_x = save(logits), saved_w = save(weight)](const Tensor& gy) -> Gradients {
    const Tensor x = saved_x.get(kOp), w = saved_w.get(kOp);
    Tensor gx = empty_like(x);
    dispatch_floating(gy.dtype(), [&](auto t) {
      using T = decltype(t);
      kernels<CrossEntropyKernels<T>>(gy.device())
          .backward(g, x.data<T>(), targets.data<int64_t>(), data_or_null<T>(w), lse.data<T>(),
                    {gy.data<T>(), data_or_null<double>(factor), shared}, gx.data<T>());
    });
    return {gx};
  });
}

}  // namespace cnnx
