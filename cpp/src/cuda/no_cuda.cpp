// Stands in for the CUDA library in a build without it.
#include "check.h"
#include "kernels.h"

namespace cnnx {

bool cuda_is_available() { return false; }

void raise_no_cuda() {
  fail<CudaError>("cuda", "this build of cnnx has no CUDA kernels; got device \"cuda\". Use device \"cpu\".");
}

}  // namespace cnnx
