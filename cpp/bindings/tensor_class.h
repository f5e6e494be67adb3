// The parts of class Tensor's binding, a file each, and what they share.
#pragma once

#include "numpy.h"

namespace cnnx::bindings {

using TensorClass = py::class_<Tensor>;

/// Python's number, NumPy array or nested list as a tensor to compute with x; undefined if it is none of these.
Tensor operand(const Tensor& x, py::handle other);

void bind_arithmetic(TensorClass& cls);
void bind_reductions(TensorClass& cls);
void bind_indexing(TensorClass& cls);
void bind_exchange(TensorClass& cls);

}  // namespace cnnx::bindings
