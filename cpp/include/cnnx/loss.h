// Losses. Logits are (N, classes) or (N, classes, d1, ...); targets are int64 (N) or (N, d1, ...).
#pragma once

#include "cnnx/tensor.h"

namespace cnnx {

enum class Reduction : unsigned char { kMean, kSum, kNone };

struct CrossEntropyOptions {
  Tensor weight = {};  ///< One weight a class.
  int64_t ignore_index = -100;
  Reduction reduction = Reduction::kMean;
  double label_smoothing = 0;
};
/// Log-softmax and negative log-likelihood in one.
CNNX_API Tensor cross_entropy(const Tensor& logits, const Tensor& targets, const CrossEntropyOptions& options = {});

struct MultiMarginOptions {
  int64_t p = 1;  ///< 1 or 2.
  double margin = 1;
  Tensor weight = {};
  Reduction reduction = Reduction::kMean;
};
/// torch's form: sum over the wrong classes of max(0, margin - s_y + s_j)^p, divided by the number of classes.
CNNX_API Tensor multi_margin_loss(const Tensor& scores, const Tensor& targets, const MultiMarginOptions& options = {});
/// The notes' multiclass SVM loss: sum over the wrong classes of max(0, s_j - s_y + margin), averaged over the batch.
CNNX_API Tensor svm_loss(const Tensor& scores, const Tensor& targets, double margin = 1,
                         Reduction reduction = Reduction::kMean);
CNNX_API Tensor mse_loss(const Tensor& input, const Tensor& target, Reduction reduction = Reduction::kMean);

}  // namespace cnnx
