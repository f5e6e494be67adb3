// When Winograd's algorithms may work on blocks, and calling them.
#include "ops/conv2d/blocked.h"

#include <algorithm>
#include <string_view>

#include "cnnx/autotune.h"
#include "kernels.h"
#include "ops/conv2d/choice.h"
#include "ops/conv2d/prepared.h"
#include "parallel.h"

namespace cnnx {
namespace {

constexpr std::string_view kLarge = "winograd", kSmall = "winograd_2x2";

bool is_like(const Tensor& tensor, const Tensor& x) {
  return tensor.defined() && tensor.dtype() == x.dtype() && tensor.device() == x.device();
}

/// Whether the images are of a size that exists anywhere: not where padding is all but endless, so that their number of
/// values would not even fit an integer.
bool is_sane(const Conv2dGeometry& g) {
  const auto padded = [](const WindowAxis& a) { return static_cast<double>(a.input + a.pad_before + a.pad_after); };
  const auto planes = static_cast<double>(g.batch) * static_cast<double>(std::max(g.in_channels, g.out_channels));
  return planes * padded(g.h) * padded(g.w) < 0x1p48;
}

}  // namespace

std::optional<BlockedConv> find_blocked_conv(const Tensor& x, const Shape& shape, const Tensor& weight,
                                             const Tensor& bias, const ConvOptions& options) {
  if (!x.defined() || x.device().is_cuda() || !is_floating(x.dtype()) || is_16_bit(x.dtype()) || options.groups != 1 ||
      options.stride != Pair(1) || is_autotune_enabled() || workspace_limit() != kNoWorkspaceLimit) {
    return {};
  }
  if (shape.rank() != 4 || !is_like(weight, x) || weight.rank() != 4 ||
      (bias.defined() && !(is_like(bias, x) && bias.shape() == Shape{weight.size(0)}))) {
    return {};
  }
  BlockedConv conv{};
  try {
    conv.geometry = conv2d_geometry(shape, weight.shape(), options);
  } catch (const std::invalid_argument&) {
    return {};
  }
  if (!is_sane(conv.geometry)) return {};
  conv.geometry.threads = region_threads();
  conv.geometry.is_prepared = stays(weight);
  const std::string_view algorithm = dispatch_floating(x.dtype(), [&](auto t) {
    return choose_conv2d<decltype(t)>(conv.geometry, ConvPass::kForward, x.device()).name;
  });
  conv.small = algorithm == kSmall;
  if (!conv.small && algorithm != kLarge) return {};
  return conv;
}

template <class T>
void run_blocked_conv(const BlockedConv& conv, const BlockedPass& pass, const T* x, const Tensor& weight,
                      const Tensor& bias, const ConvFusion& fusion, T* y) {
  const Conv2dGeometry& g = conv.geometry;
  const Device device = weight.device();
  const Conv2dKernels<T>& plain = *find_conv2d<T>(device, conv.small ? kSmall : kLarge);
  const auto prepared = g.is_prepared ? prepared_weight<T>(plain, g, weight) : nullptr;
  const T* const w = prepared ? static_cast<const T*>(prepared->values.data()) : weight.data<T>();
  const Tensor shift = folded_shift(fusion, bias);
  const Workspace workspace(static_cast<size_t>(plain.workspace_bytes(g, ConvPass::kForward)), device);
  const ConvEpilogue<T> epilogue{data_or_null<T>(fusion.scale), data_or_null<T>(shift), nullptr, fusion.relu};
  kernels<BlockedConv2dKernels<T>>(device).forward(g, conv.small, pass, x, w, epilogue, y, workspace.data());
}

template void run_blocked_conv(const BlockedConv&, const BlockedPass&, const float*, const Tensor&, const Tensor&,
                               const ConvFusion&, float*);
template void run_blocked_conv(const BlockedConv&, const BlockedPass&, const double*, const Tensor&, const Tensor&,
                               const ConvFusion&, double*);

}  // namespace cnnx
