// Modules applied one after the other, with neighbours that the library can do in one pass done so.
#pragma once

#include <memory>
#include <span>

#include "cnnx/module.h"

namespace cnnx {

using ModuleSpan = std::span<const std::shared_ptr<Module>>;

/// Applies the modules in order. Batch normalization in evaluation mode and ReLU behind a convolution become part of
/// its last pass; what a Python class or another type overrides is left alone.
Tensor run_chain(ModuleSpan modules, const Tensor& x);

/// relu(modules(x) + shortcut), the sum likewise. Raises std::invalid_argument unless the two have the same shape.
Tensor run_residual(ModuleSpan modules, const Tensor& x, const Tensor& shortcut);

}  // namespace cnnx
