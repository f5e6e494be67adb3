// Which cuDNN convolutions on CUDA devices use.
#pragma once

#include "cnnx/tensor.h"

namespace cnnx {

/// Its version as it numbers them, 91300 for 9.13.0; 0 without cuDNN or without a CUDA device.
CNNX_API int cudnn_version();

}  // namespace cnnx
