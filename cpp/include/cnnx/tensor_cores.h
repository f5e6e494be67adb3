// Which instructions of tensor cores CUDA devices use.
#pragma once

#include <string>

#include "cnnx/device.h"

namespace cnnx {

/// By which convolutions and matrix products of reduced precision are computed by cnnx's own kernels: "wgmma" on Hopper
/// (compute capability 9.0), "mma.sync" elsewhere. Empty without a CUDA device, or if it has no tensor cores for them.
/// The first call for a device checks wgmma, unless something was computed so before. Raises CudaError unless there is
/// a device of this number.
CNNX_API std::string cuda_tensor_cores(Device device = {DeviceType::kCuda, 0});

}  // namespace cnnx
