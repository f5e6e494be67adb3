// The implicit GEMM of float32 images and weights on tensor cores, which round factors to fewer bits.
#pragma once

#include "ops/conv2d/conv2d.h"

namespace cnnx::cuda {

/// Of any precision but kFull. Takes every geometry.
const Conv2dKernels<float>& tensor_core_conv2d(Precision precision);

}  // namespace cnnx::cuda
