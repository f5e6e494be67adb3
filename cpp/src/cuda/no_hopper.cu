// Stands in for hopper.cu in a library without code for compute capability 9.0.
#include "cuda/hopper.h"

namespace cnnx::cuda {

const HopperGemms* hopper_gemms(Precision, HopperSize) { return nullptr; }

}  // namespace cnnx::cuda
