// The settings of the precision on CUDA devices: TF32 for the process, autocast for a thread.
#include "cnnx/precision.h"

#include <atomic>
#include <utility>

namespace cnnx {
namespace {

std::atomic<bool> tf32_allowed{false};
thread_local Precision autocast = Precision::kFull;

}  // namespace

void set_cuda_allow_tf32(bool on) { tf32_allowed.store(on, std::memory_order_relaxed); }
bool cuda_allow_tf32() { return tf32_allowed.load(std::memory_order_relaxed); }

AutocastGuard::AutocastGuard(Precision precision) : previous_(std::exchange(autocast, precision)) {}
AutocastGuard::~AutocastGuard() { autocast = previous_; }
Precision autocast_precision() { return autocast; }
void set_autocast_precision(Precision precision) { autocast = precision; }

Precision compute_precision(const Tensor& x) {
  if (!x.device().is_cuda() || x.dtype() != DType::kFloat32) return Precision::kFull;
  if (autocast != Precision::kFull) return autocast;
  return cuda_allow_tf32() ? Precision::kTF32 : Precision::kFull;
}

}  // namespace cnnx
