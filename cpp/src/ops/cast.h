// Kernels that convert between dtypes and fill buffers.
#pragma once

#include <cstdint>

#include "cnnx/tensor.h"

namespace cnnx {

/// The kernels take all dtypes, so there is one table.
struct CastKernels {
  void (*convert)(int64_t n, DType from, const void* x, DType to, void* y);
  void (*fill)(int64_t n, DType dtype, Scalar value, void* y);
};

}  // namespace cnnx
