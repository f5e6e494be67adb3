// The parts of class Tensor's binding, a file each, and what they share.
#pragma once

#include "numpy.h"

namespace cnnx::bindings {

using TensorClass = py::class_<Tensor>;

/// A number or an array as a tensor to compute with x; undefined if it is neither. A number has x's dtype, if that is
/// floating, but beside 16-bit values it is float32.
Tensor operand(const Tensor& x, py::handle other);

void bind_arithmetic(TensorClass& cls);
void bind_reductions(TensorClass& cls);
void bind_indexing(TensorClass& cls);
void bind_exchange(TensorClass& cls);

}  // namespace cnnx::bindings
