// Mean squared error, made of other operations.
#include "check.h"
#include "cnnx/loss.h"

namespace cnnx {

Tensor mse_loss(const Tensor& input, const Tensor& target, Reduction reduction) {
  constexpr const char* kOp = "mse_loss";
  check_floating(kOp, input);
  check(target.defined(), kOp, "expected a target tensor; got none.");
  check_like(kOp, "target", input, target);
  check(input.shape() == target.shape(), kOp, "expected input and target of one shape; got {} and {}.", input.shape(),
        target.shape());
  const Tensor difference = input - target;
  const Tensor squares = difference * difference;
  return reduction == Reduction::kMean ? mean(squares) : reduction == Reduction::kSum ? sum(squares) : squares;
}

}  // namespace cnnx
