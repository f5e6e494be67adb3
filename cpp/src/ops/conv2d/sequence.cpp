#include "ops/conv2d/sequence.h"

#include "autograd.h"
#include "kernels.h"
#include "tensor_impl.h"

namespace cnnx {

ConvSequence::ConvSequence(const Tensor& x) : x_(x) {}

ConvSequence::Taken ConvSequence::append(const Tensor& weight, const Tensor& bias, const ConvOptions& options,
                                         const ConvFusion& fusion, bool pools) {
  if (!x_.defined() || fusion.residual.defined() || grad_needed({&x_, &weight, &bias})) return Taken::kNothing;
  const auto conv = find_hidden_conv(x_, links_.empty() ? x_.shape() : links_.back().output, weight, bias, options);
  if (!conv) return Taken::kNothing;
  const Conv2dGeometry& g = conv->geometry;
  pools = pools && conv->pools;
  BlockedShape wanted;
  if (conv->takes_blocks()) {
    wanted = dispatch_floating(x_.dtype(), [&](auto t) {
      return kernels<BlockedConv2dKernels<decltype(t)>>(x_.device()).reads(g, conv->is_small_winograd());
    });
  }
  const bool fits =
      links_.empty() ? pools || conv->takes_blocks() : links_.back().conv.takes_blocks() && wanted.lanes > 0;
  if (!fits) return Taken::kNothing;
  const int64_t factor = pools ? 2 : 1;
  links_.push_back({*conv, wanted, weight, bias, fusion, pools,
                    Shape{g.batch, g.out_channels, g.h.output / factor, g.w.output / factor}});
  return pools ? Taken::kConvAndPool : Taken::kConv;
}

Tensor ConvSequence::run() const {
  Tensor y = x_;
  for (size_t i = 0; i < links_.size(); ++i) {
    const Link& link = links_[i];
    BlockedPass pass{.from_blocks = i > 0, .pools = link.pools};
    if (i + 1 < links_.size()) pass.to = links_[i + 1].wanted;
    const Shape shape = pass.to.lanes > 0 ? Shape{pass.to.values(link.conv.geometry.batch)} : link.output;
    Tensor to = empty_like(x_, shape);
    dispatch_floating(x_.dtype(), [&](auto t) {
      using T = decltype(t);
      run_hidden_conv<T>(link.conv, pass, std::as_const(y).data<T>(), link.weight, link.bias, link.fusion,
                         to.data<T>());
    });
    y = to;
  }
  return y;
}

}  // namespace cnnx
