// Tensors that a thread sees in place of modules' buffers, as the second pass of a checkpointed module must see those
// that the first one found. Other threads, and the modules themselves, keep the buffers as they are.
#pragma once

#include <unordered_map>
#include <utility>

#include "cnnx/tensor.h"

namespace cnnx {

using Substitutes = std::unordered_map<const TensorImpl*, Tensor>;

class SubstitutesGuard {
 public:
  /// Null: this thread sees the buffers themselves.
  explicit SubstitutesGuard(const Substitutes* substitutes) : previous_(std::exchange(current_, substitutes)) {}
  ~SubstitutesGuard() { current_ = previous_; }
  SubstitutesGuard(const SubstitutesGuard&) = delete;
  SubstitutesGuard& operator=(const SubstitutesGuard&) = delete;

  /// What this thread sees of a buffer.
  static Tensor seen(const Tensor& buffer) {
    if (!current_) return buffer;
    const auto found = current_->find(buffer.impl().get());
    return found == current_->end() ? buffer : found->second;
  }

 private:
  inline static thread_local const Substitutes* current_ = nullptr;
  const Substitutes* previous_;
};

}  // namespace cnnx
