// Convolutions of which nobody sees more than the last one's output: those that can pool what they compute do, and hand
// on blocks of channels.
#pragma once

#include <vector>

#include "ops/conv2d/hidden.h"

namespace cnnx {

class ConvSequence {
 public:
  explicit ConvSequence(const Tensor& x);

  enum class Taken : unsigned char { kNothing, kConv, kConvAndPool };
  /// Takes one more convolution and, if `pools`, 2x2 max pooling with stride 2 behind it. Nothing if it would be
  /// recorded, is not right for what comes before, or if its algorithm can neither pool nor hand on blocks.
  Taken append(const Tensor& weight, const Tensor& bias, const ConvOptions& options, const ConvFusion& fusion,
               bool pools);
  /// Whether it does more at once than its convolutions could one by one.
  bool pays() const { return links_.size() > 1 || (!links_.empty() && links_[0].pools); }
  Tensor run() const;

 private:
  struct Link {
    HiddenConv conv;
    BlockedShape wanted;  // of its input, if it is blocks
    Tensor weight, bias;
    ConvFusion fusion;
    bool pools;
    Shape output;
  };

  Tensor x_;
  std::vector<Link> links_;
};

}  // namespace cnnx
