// The losses as modules. Class weights are buffers, so that they follow to() and are saved.
#include <algorithm>

#include "check.h"
#include "cnnx/nn.h"

namespace cnnx {
namespace {

void visit_reduction(FieldVisitor& visitor, Reduction& reduction) {
  static const std::string kNames[] = {"mean", "sum", "none"};
  std::string name = kNames[static_cast<size_t>(reduction)];
  visitor.field("reduction", name);
  const auto at = std::find(std::begin(kNames), std::end(kNames), name);
  check(at != std::end(kNames), "reduction", "expected \"mean\", \"sum\" or \"none\"; got \"{}\".", name);
  reduction = static_cast<Reduction>(at - std::begin(kNames));
}

}  // namespace

CrossEntropyLoss::CrossEntropyLoss(const CrossEntropyOptions& options) : options_(options) {
  check(options.label_smoothing >= 0 && options.label_smoothing <= 1, "CrossEntropyLoss",
        "label_smoothing must lie in [0, 1]; got {}.", options.label_smoothing);
  register_buffer("weight", options.weight);
  options_.weight = {};
}

Tensor CrossEntropyLoss::forward(const Tensor& input, const Tensor& target) {
  CrossEntropyOptions options = options_;
  options.weight = buffer("weight");
  return cross_entropy(input, target, options);
}

void CrossEntropyLoss::visit_fields(FieldVisitor& visitor) {
  visitor.field("ignore_index", options_.ignore_index);
  visit_reduction(visitor, options_.reduction);
  visitor.field("label_smoothing", options_.label_smoothing);
}

MultiMarginLoss::MultiMarginLoss(const MultiMarginOptions& options) : options_(options) {
  check(options.p == 1 || options.p == 2, "MultiMarginLoss", "p must be 1 or 2; got {}.", options.p);
  register_buffer("weight", options.weight);
  options_.weight = {};
}

Tensor MultiMarginLoss::forward(const Tensor& input, const Tensor& target) {
  MultiMarginOptions options = options_;
  options.weight = buffer("weight");
  return multi_margin_loss(input, target, options);
}

void MultiMarginLoss::visit_fields(FieldVisitor& visitor) {
  visitor.field("p", options_.p);
  visitor.field("margin", options_.margin);
  visit_reduction(visitor, options_.reduction);
}

void MSELoss::visit_fields(FieldVisitor& visitor) { visit_reduction(visitor, reduction_); }

Tensor MSELoss::forward(const Tensor& input, const Tensor& target) { return mse_loss(input, target, reduction_); }

}  // namespace cnnx
