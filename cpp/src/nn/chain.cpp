// Fusion of neighbouring layers. A fused stage computes what its layers would one by one, but for rounding.
#include "nn/chain.h"

#include <utility>

#include "autograd.h"
#include "cnnx/nn.h"
#include "nn/called.h"
#include "ops/conv2d/conv2d.h"
#include "ops/conv2d/fused.h"
#include "ops/conv2d/sequence.h"
#include "ops/residual.h"
#include "widening.h"

namespace cnnx {
namespace {

/// The module as a layer of exactly this class, so that nothing of it is overridden; else null, as for one that is
/// computed again in the backward pass.
template <class Layer>
Layer* exactly(Module& module) {
  return module.layer_type() == typeid(Layer) && !module.is_checkpointed() ? static_cast<Layer*>(&module) : nullptr;
}

/// Neighbours that run in one pass: a convolution, or a batch normalization, or any one module.
struct Stage {
  Conv2d* conv = nullptr;
  Tensor weight, bias;          // the convolution's, read once: other threads may replace them
  BatchNorm2d* norm = nullptr;  // that is not part of a convolution
  Tensor scale, shift;          // that is
  bool relu = false;
  std::shared_ptr<Module> pool;  // that runs before the ReLU
  size_t length = 1;

  bool takes_residual() const { return (conv || norm) && !relu; }
  /// Whether the tape will record the convolution.
  bool is_recorded(const Tensor& x) const { return grad_needed({&x, &weight, &bias}); }
  /// Whether a scale and its shift fit the convolution and no gradient would have to pass through them.
  bool takes_affine(const Tensor& x, const Tensor& of) const {
    return of.defined() && weight.defined() && weight.rank() == 4 && x.defined() &&
           of.shape() == Shape{weight.size(0)} && of.dtype() == weight.dtype() && of.device() == weight.device() &&
           !is_recorded(x);
  }
};

/// The pooling layer behind a convolution and ReLU that is better done before the ReLU, or null. A larger value stays
/// the larger one, so outputs and gradients are the same; but the tape need not keep what only the ReLU's gradient
/// would read, and both passes of the ReLU touch a fraction of the values. Where pooling does not shrink the map,
/// nothing is gained; and a dilated window may miss the image, whose -inf must stay.
std::shared_ptr<Module> pool_before_relu(const Stage& stage, const std::shared_ptr<Module>& next, const Tensor& x) {
  const MaxPool2d* const pool = next ? exactly<MaxPool2d>(*next) : nullptr;
  if (!pool || pool->args().options.dilation != Pair(1)) return nullptr;
  const Pair stride = pool->args().options.stride.value_or(pool->args().kernel_size);
  return stride.h * stride.w > 1 && x.defined() && stage.is_recorded(x) ? next : nullptr;
}

/// While somebody watches the calls, every module is one of its own.
Stage stage_at(ModuleSpan modules, size_t at, const Tensor& x) {
  Stage stage;
  if (Call::is_watched()) return stage;
  const auto next = [&] { return at + stage.length < modules.size() ? modules[at + stage.length] : nullptr; };
  stage.conv = exactly<Conv2d>(*modules[at]);
  stage.norm = exactly<BatchNorm2d>(*modules[at]);
  if (!stage.conv && !stage.norm) return stage;
  if (stage.conv) {
    stage.weight = stage.conv->weight();
    stage.bias = stage.conv->bias();
  }
  auto* norm = stage.conv && next() ? exactly<BatchNorm2d>(*next()) : nullptr;
  if (norm) {
    auto [scale, shift] = norm->evaluation_affine();
    if (stage.takes_affine(x, scale)) {
      stage.scale = std::move(scale);
      stage.shift = std::move(shift);
      ++stage.length;
    }
  }
  stage.relu = next() && exactly<ReLU>(*next());
  stage.length += stage.relu;
  if (stage.conv && stage.relu) stage.pool = pool_before_relu(stage, next(), x);
  stage.length += stage.pool != nullptr;
  return stage;
}

/// Whether the module pools 2x2 windows side by side.
bool halves(const std::shared_ptr<Module>& module) {
  const MaxPool2d* const pool = module ? exactly<MaxPool2d>(*module) : nullptr;
  if (!pool) return false;
  const MaxPoolOptions& options = pool->args().options;
  return pool->args().kernel_size == Pair(2) && options.stride == Pair(2) && options.dilation == Pair(1) &&
         options.padding == Padding(0);
}

Tensor run(const Stage& stage, const std::shared_ptr<Module>& module, const Tensor& x, const Tensor& residual) {
  if (!stage.conv && !stage.norm) return ModulePtr(module)(x);
  const bool relu = stage.relu || residual.defined();
  if (halves(stage.pool)) {
    if (Tensor y = conv2d_relu_pooled(x, stage.weight, stage.bias, stage.conv->conv_options()); y.defined()) return y;
  }
  const Tensor y = called(*module, x, [&] {
    if (stage.norm) return stage.norm->forward(x, residual, relu);
    return conv2d(x, stage.weight, stage.bias, stage.conv->conv_options(),
                  {stage.scale, stage.shift, residual, relu && !stage.pool});
  });
  return stage.pool ? cnnx::relu(ModulePtr(stage.pool)(y)) : y;
}

/// Runs the first stage and those behind it that can do more at once than one by one. Returns how many modules that
/// were; 0: none.
size_t run_sequence(ModuleSpan modules, Stage stage, Tensor& y) {
  ConvSequence sequence(y);
  size_t taken = 0;
  while (stage.conv && !stage.pool) {
    const size_t next = taken + stage.length;
    const auto got =
        sequence.append(stage.weight, stage.bias, stage.conv->conv_options(),
                        {stage.scale, stage.shift, {}, stage.relu}, next < modules.size() && halves(modules[next]));
    if (got == ConvSequence::Taken::kNothing) break;
    taken = next + (got == ConvSequence::Taken::kConvAndPool);
    if (taken == modules.size()) break;
    stage = stage_at(modules, taken, y);
  }
  if (!sequence.pays()) return 0;
  y = sequence.run();
  return taken;
}

/// Whether the stage's output has this shape and dtype, so that it can take the tensor as a residual. If not, it is run
/// alone, and the sum promotes dtypes or raises the right error.
bool gives_like(const Stage& stage, const Tensor& x, const Tensor& residual) {
  const Shape& shape = residual.shape();
  if (!x.defined() || residual.dtype() != (stage.conv ? narrow_product(x).value_or(x.dtype()) : x.dtype()))
    return false;
  if (!stage.conv) return x.shape() == shape;
  try {
    const Conv2dGeometry g = conv2d_geometry(x.shape(), stage.weight.shape(), stage.conv->conv_options());
    return shape == Shape{g.batch, g.out_channels, g.h.output, g.w.output};
  } catch (const std::invalid_argument&) {
    return false;
  }
}

}  // namespace

Tensor run_chain(ModuleSpan modules, const Tensor& x) {
  Tensor y = x;
  for (size_t at = 0; at < modules.size();) {
    const Stage stage = stage_at(modules, at, y);
    if (const size_t taken = run_sequence(modules.subspan(at), stage, y)) {
      at += taken;
      continue;
    }
    y = run(stage, modules[at], y, {});
    at += stage.length;
  }
  return y;
}

Tensor run_residual(ModuleSpan modules, const Tensor& x, const Tensor& shortcut) {
  Tensor y = x;
  for (size_t at = 0; at < modules.size();) {
    const Stage stage = stage_at(modules, at, y);
    const bool is_last = at + stage.length == modules.size();
    if (is_last && stage.takes_residual() && gives_like(stage, y, shortcut)) {
      return run(stage, modules[at], y, shortcut);
    }
    y = run(stage, modules[at], y, {});
    at += stage.length;
  }
  check_residual(y.shape(), shortcut.shape());
  return add_relu(y, shortcut);
}

}  // namespace cnnx
