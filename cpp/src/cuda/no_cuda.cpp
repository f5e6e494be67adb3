// Stands in for the loader of the CUDA library in a build without CUDA (CNNX_CUDA=OFF).
#include "check.h"
#include "cnnx/cudnn.h"
#include "cuda/library.h"

namespace cnnx {

bool cuda_is_available() { return false; }
int cuda_device_count() { return 0; }
int cudnn_version() { return 0; }

const CudaLibrary& cuda_library() {
  fail<CudaError>("cuda", "this build of cnnx has no CUDA (CNNX_CUDA=OFF); got device \"cuda\". Use device \"cpu\".");
}

void check_cuda_device(int) { cuda_library(); }

}  // namespace cnnx
