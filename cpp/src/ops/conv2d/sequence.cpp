#include "ops/conv2d/sequence.h"

#include <string_view>

#include "autograd.h"
#include "cnnx/autotune.h"
#include "kernels.h"
#include "ops/conv2d/choice.h"
#include "ops/conv2d/prepared.h"
#include "parallel.h"

namespace cnnx {
namespace {

constexpr std::string_view kLarge = "winograd", kSmall = "winograd_2x2";

/// Whether the tensor is there, or need not be, and is like x.
bool is_like(const Tensor& tensor, const Tensor& x, const Shape& shape) {
  return tensor.defined() && tensor.shape() == shape && tensor.dtype() == x.dtype() && tensor.device() == x.device();
}

}  // namespace

ConvSequence::ConvSequence(const Tensor& x) : x_(x) {}

ConvSequence::Taken ConvSequence::append(const Tensor& weight, const Tensor& bias, const ConvOptions& options,
                                         const ConvFusion& fusion, bool pools) {
  if (!x_.defined() || x_.device().is_cuda() || !is_floating(x_.dtype()) || !weight.defined() ||
      fusion.residual.defined() || options.groups != 1 || options.stride != Pair(1) || is_autotune_enabled() ||
      workspace_limit() != kNoWorkspaceLimit || grad_needed({&x_, &weight, &bias})) {
    return Taken::kNothing;
  }
  const Shape& shape = links_.empty() ? x_.shape() : links_.back().output;
  if (shape.rank() != 4 || weight.rank() != 4 || !is_like(weight, x_, weight.shape()) ||
      (bias.defined() && !is_like(bias, x_, {weight.size(0)}))) {
    return Taken::kNothing;
  }
  Conv2dGeometry g;
  try {
    g = conv2d_geometry(shape, weight.shape(), options);
  } catch (const std::invalid_argument&) {
    return Taken::kNothing;  // for the layer to raise, which knows where it is
  }
  g.threads = region_threads();
  g.is_prepared = stays(weight);
  pools = pools && g.h.output % 2 == 0 && g.w.output % 2 == 0;  // else pooling may round either way
  const int64_t factor = pools ? 2 : 1;
  return dispatch_floating(x_.dtype(), [&](auto t) {
    using T = decltype(t);
    const Device device = x_.device();
    const std::string_view algorithm = choose_conv2d<T>(g, ConvPass::kForward, device).name;
    const bool small = algorithm == kSmall;
    if (!small && algorithm != kLarge) return Taken::kNothing;
    if (!links_.empty() && kernels<BlockedConv2dKernels<T>>(device).reads(g, small).lanes == 0) return Taken::kNothing;
    links_.push_back({g, weight, bias, fusion, pools, small,
                      Shape{g.batch, g.out_channels, g.h.output / factor, g.w.output / factor}});
    return pools ? Taken::kConvAndPool : Taken::kConv;
  });
}

Tensor ConvSequence::run() const {
  return dispatch_floating(x_.dtype(), [&](auto t) { return run_links<decltype(t)>(); });
}

template <class T>
Tensor ConvSequence::run_links() const {
  const Device device = x_.device();
  const auto& k = kernels<BlockedConv2dKernels<T>>(device);
  Tensor y = x_;
  for (size_t i = 0; i < links_.size(); ++i) {
    const Link& link = links_[i];
    const Conv2dGeometry& g = link.geometry;
    const Conv2dKernels<T>& plain = *find_conv2d<T>(device, link.small ? kSmall : kLarge);
    BlockedPass pass{i > 0, link.pools, {}};
    if (i + 1 < links_.size()) pass.to = k.reads(links_[i + 1].geometry, links_[i + 1].small);
    Tensor to = empty_like(x_, pass.to.lanes > 0 ? Shape{pass.to.values(g.batch)} : link.output);
    const auto prepared = g.is_prepared ? prepared_weight<T>(plain, g, link.weight) : nullptr;
    const T* const w = prepared ? static_cast<const T*>(prepared->values.data()) : link.weight.template data<T>();
    const Tensor shift = folded_shift(link.fusion, link.bias);
    const Workspace workspace(static_cast<size_t>(plain.workspace_bytes(g, ConvPass::kForward)), device);
    k.forward(g, link.small, pass, y.data<T>(), w,
              {data_or_null<T>(link.fusion.scale), data_or_null<T>(shift), nullptr, link.fusion.relu}, to.data<T>(),
              workspace.data());
    y = to;
  }
  return y;
}

}  // namespace cnnx
