// In which precision convolutions and matrix products of float32 are computed on CUDA devices.
#pragma once

#include "cnnx/tensor.h"

namespace cnnx {

/// What the factors of products are rounded to; sums are float32. kFull rounds nothing.
enum class Precision : unsigned char { kFull, kTF32, kBFloat16, kFloat16 };

/// Whether TF32 may be used where nothing else is asked for. Off at first; for the whole process.
CNNX_API void set_cuda_allow_tf32(bool on);
CNNX_API bool cuda_allow_tf32();

/// While one lives, this thread's products on CUDA devices are computed in this precision, forward and backward, and
/// give tensors of its 16 bits, unless it is kTF32; kFull ends that of an outer guard.
class CNNX_API AutocastGuard {
 public:
  explicit AutocastGuard(Precision precision);
  ~AutocastGuard();
  AutocastGuard(const AutocastGuard&) = delete;
  AutocastGuard& operator=(const AutocastGuard&) = delete;

 private:
  Precision previous_;
};
CNNX_API Precision autocast_precision();
CNNX_API void set_autocast_precision(Precision precision);

/// The precision of an operation on this tensor here and now: kFull but for float32 on a CUDA device. An operation
/// keeps it for its backward pass.
CNNX_API Precision compute_precision(const Tensor& x);

}  // namespace cnnx
