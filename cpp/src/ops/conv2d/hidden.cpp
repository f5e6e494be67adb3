// Whether a convolution may run otherwise than as a layer, and running it.
#include "ops/conv2d/hidden.h"

#include <algorithm>
#include <string_view>

#include "cnnx/autotune.h"
#include "kernels.h"
#include "ops/conv2d/choice.h"
#include "ops/conv2d/prepared.h"
#include "parallel.h"

namespace cnnx {
namespace {

constexpr std::string_view kWinograd = "winograd", kSmallWinograd = "winograd_2x2";

bool is_like(const Tensor& tensor, const Tensor& x) {
  return tensor.defined() && tensor.dtype() == x.dtype() && tensor.device() == x.device();
}

/// Whether images with their padding are of a size that exists anywhere, and images for the most part. Where padding is
/// all but endless, their number of values would not even fit an integer.
bool is_sane(const Conv2dGeometry& g) {
  const auto padded = [](const WindowAxis& a) { return static_cast<double>(a.input + a.pad_before + a.pad_after); };
  const auto planes = static_cast<double>(g.batch) * static_cast<double>(std::max(g.in_channels, g.out_channels));
  const double plane = padded(g.h) * padded(g.w);
  return planes * plane < 0x1p48 && plane <= 4 * static_cast<double>(g.input_plane() + 64);
}

}  // namespace

bool HiddenConv::is_small_winograd() const { return algorithm == kSmallWinograd; }
bool HiddenConv::takes_blocks() const {
  return (is_small_winograd() || algorithm == kWinograd) && geometry.groups == 1;
}

std::optional<HiddenConv> find_hidden_conv(const Tensor& x, const Shape& shape, const Tensor& weight,
                                           const Tensor& bias, const ConvOptions& options) {
  if (!x.defined() || x.device().is_cuda() || !is_floating(x.dtype()) || is_16_bit(x.dtype()) ||
      is_autotune_enabled() || workspace_limit() != kNoWorkspaceLimit) {
    return {};
  }
  if (shape.rank() != 4 || !is_like(weight, x) || weight.rank() != 4 ||
      (bias.defined() && !(is_like(bias, x) && bias.shape() == Shape{weight.size(0)}))) {
    return {};
  }
  HiddenConv conv{};
  try {
    conv.geometry = conv2d_geometry(shape, weight.shape(), options);
  } catch (const std::invalid_argument&) {
    return {};
  }
  if (!is_sane(conv.geometry)) return {};
  conv.geometry.threads = region_threads();
  conv.geometry.is_prepared = stays(weight);
  dispatch_floating(x.dtype(), [&](auto t) {
    const auto& algorithm = choose_conv2d<decltype(t)>(conv.geometry, ConvPass::kForward, x.device());
    conv.algorithm = algorithm.name;
    conv.pools = algorithm.forward_pooled && conv.geometry.h.output % 2 == 0 && conv.geometry.w.output % 2 == 0;
    conv.geometry.is_prepared = conv.geometry.is_prepared && algorithm.prepared_values;
  });
  return conv;
}

template <class T>
void run_hidden_conv(const HiddenConv& conv, const BlockedPass& pass, const T* x, const Tensor& weight,
                     const Tensor& bias, const ConvFusion& fusion, T* y) {
  const Conv2dGeometry& g = conv.geometry;
  const Device device = weight.device();
  const Conv2dKernels<T>& algorithm = *find_conv2d<T>(device, conv.algorithm);
  const auto prepared = g.is_prepared ? prepared_weight<T>(algorithm, g, weight) : nullptr;
  const T* const w = prepared ? static_cast<const T*>(prepared->values.data()) : weight.data<T>();
  const Tensor shift = folded_shift(fusion, bias);
  const Workspace workspace(static_cast<size_t>(algorithm.workspace_bytes(g, ConvPass::kForward)), device);
  const ConvEpilogue<T> epilogue{data_or_null<T>(fusion.scale), data_or_null<T>(shift), nullptr, fusion.relu};
  if (pass.from_blocks || pass.to.lanes > 0) {
    kernels<BlockedConv2dKernels<T>>(device).forward(g, conv.is_small_winograd(), pass, x, w, epilogue, y,
                                                     workspace.data());
  } else if (pass.pools) {
    algorithm.forward_pooled(g, x, w, epilogue, y, pass.switches, workspace.data());
  } else {
    algorithm.forward(g, x, w, epilogue, y, workspace.data());
  }
}

template void run_hidden_conv(const HiddenConv&, const BlockedPass&, const float*, const Tensor&, const Tensor&,
                              const ConvFusion&, float*);
template void run_hidden_conv(const HiddenConv&, const BlockedPass&, const double*, const Tensor&, const Tensor&,
                              const ConvFusion&, double*);

}  // namespace cnnx
