// The multiclass hinge loss, in torch's form (divided by the number of classes) and in that of the CS231n notes.
#include "ops/multi_margin_loss.h"

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {

Tensor margin_loss(const char* op, const Tensor& scores, Tensor targets, const MultiMarginOptions& options,
                   bool per_class) {
  const Tensor& weight = options.weight;
  check(options.p == 1 || options.p == 2, op, "p must be 1 or 2; got {}.", options.p);
  check(!scores.defined() || scores.rank() <= 2, op, "expected scores of shape (N, classes); got shape {}.",
        scores.defined() ? scores.shape() : Shape());
  if (is_16_bit(scores)) {
    check_like_or_float32(op, kClassWeights, scores, weight);
    const auto loss = [&](const Tensor& wide, const Tensor& wide_weight) {
      MultiMarginOptions wide_options = options;
      wide_options.weight = wide_weight;
      return margin_loss(op, wide, targets, wide_options, per_class);
    };
    return in_float32(wide_result(scores), loss, scores, weight);
  }
  MultiMarginGeometry g{class_loss_geometry(op, scores, targets, weight, nullptr), options.p == 2, options.margin, 1};
  if (per_class) g.scale = 1 / static_cast<double>(g.classes);
  Tensor losses = empty_like(scores, {g.count()});
  dispatch_floating(scores.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<MultiMarginKernels<T>>(scores.device())
        .forward(g, scores.data<T>(), targets.data<int64_t>(), data_or_null<T>(weight), losses.data<T>());
  });
  const bool is_mean = options.reduction == Reduction::kMean;
  const Tensor factor =
      is_mean ? full({}, 1 / static_cast<double>(g.count()), {DType::kFloat64, scores.device()}) : Tensor();
  const Tensor y = reduce_losses(losses, targets.shape(), options.reduction, factor);
  if (!grad_needed({&scores})) return y;
  const bool shared = options.reduction != Reduction::kNone;
  return record(op, y, {&scores}, [=, saved_x = save(scores), saved_w = save(weight)](const Tensor& gy) -> Gradients {
    const Tensor x = saved_x.get(op), w = saved_w.get(op);
    Tensor gx = empty_like(x);
    dispatch_floating(gy.dtype(), [&](auto t) {
      using T = decltype(t);
      kernels<MultiMarginKernels<T>>(gy.device())
          .backward(g, x.data<T>(), targets.data<int64_t>(), data_or_null<T>(w),
                    {gy.data<T>(), data_or_null<double>(factor), shared}, gx.data<T>());
    });
    return {gx};
  });
}

}  // namespace

Tensor multi_margin_loss(const Tensor& scores, const Tensor& targets, const MultiMarginOptions& options) {
  return margin_loss("multi_margin_loss", scores, targets, options, true);
}

Tensor svm_loss(const Tensor& scores, const Tensor& targets, double margin, Reduction reduction) {
  return margin_loss("svm_loss", scores, targets, {.margin = margin, .reduction = reduction}, false);
}

}  // namespace cnnx
