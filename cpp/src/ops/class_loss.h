// What the losses over classes share: checked shapes of scores and targets, and the reduction of one loss an item.
#pragma once

#include "cnnx/loss.h"

namespace cnnx {

/// Scores (N, classes, d1, ...) as (items, classes, inner), one int64 target for each of items * inner.
struct ClassLossGeometry {
  int64_t items = 0;
  int64_t classes = 0;
  int64_t inner = 1;

  constexpr int64_t count() const { return items * inner; }
};

/// Checks shapes, dtypes and devices, the class weights if defined, and that every target is a class (or ignore_index).
/// Raises std::invalid_argument, and std::out_of_range for a target that is no class. Replaces targets by a copy that
/// nobody else can change: an index that was checked stays so until the backward pass.
ClassLossGeometry class_loss_geometry(const char* op, const Tensor& scores, Tensor& targets, const Tensor& weight,
                                      const int64_t* ignore_index);

/// The losses of all items, (items * inner), reduced: as they are in the targets' shape, added up, or divided by
/// `divisor`.
Tensor reduce_losses(const Tensor& losses, const Shape& targets, Reduction reduction, double divisor);

/// The sum of the losses of items over `divisor`, added up in double.
template <class T>
struct LossKernels {
  void (*total)(int64_t n, const T* losses, double divisor, T* y);
};

/// The factor of each item's gradient: gy itself without reduction, else its one value over the divisor.
template <class T>
struct ItemGradient {
  const T* values;
  T scale;
  bool shared;
  constexpr T operator()(int64_t item) const { return shared ? values[0] * scale : values[item]; }
};

}  // namespace cnnx
