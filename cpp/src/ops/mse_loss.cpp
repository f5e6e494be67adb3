// Mean squared error, made of other operations.
#include "check.h"
#include "cnnx/loss.h"
#include "widening.h"

namespace cnnx {

Tensor mse_loss(const Tensor& input, const Tensor& target, Reduction reduction) {
  constexpr const char* kOp = "mse_loss";
  check_floating(kOp, input);
  check(target.defined(), kOp, "expected a target tensor; got none.");
  const bool is_mixed = (is_16_bit(input) || is_16_bit(target)) && are_at_most_float32(input, target);
  if (is_mixed) {
    check_same_device(kOp, input, target);
  } else {
    check_like(kOp, "target", input, target);
  }
  check(input.shape() == target.shape(), kOp, "expected input and target of one shape; got {} and {}.", input.shape(),
        target.shape());
  if (is_mixed) {
    const auto loss = [&](const Tensor& a, const Tensor& b) { return mse_loss(a, b, reduction); };
    const bool is_kept = input.dtype() == target.dtype();
    return in_float32(is_kept ? wide_result(input) : DType::kFloat32, loss, input, target);
  }
  const Tensor difference = input - target;
  const Tensor squares = difference * difference;
  return reduction == Reduction::kMean ? mean(squares) : reduction == Reduction::kSum ? sum(squares) : squares;
}

}  // namespace cnnx
