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

inline constexpr const char* kClassWeights = "class weights";  // in messages

/// Checks shapes, dtypes and devices, the class weights if defined, and that every target is a class (or ignore_index).
/// Raises std::invalid_argument, and std::out_of_range for a target that is no class: on CUDA when the host next waits
/// for the device. Replaces targets by a copy that nobody else can change, with classes in place of what are none: an
/// index that was checked stays so until the backward pass.
ClassLossGeometry class_loss_geometry(const char* op, const Tensor& scores, Tensor& targets, const Tensor& weight,
                                      const int64_t* ignore_index);

/// The losses of all items, (items * inner), reduced: as they are in the targets' shape, added up, or also multiplied
/// by the one float64 value of `factor`, where it is defined.
Tensor reduce_losses(const Tensor& losses, const Shape& targets, Reduction reduction, const Tensor& factor);

/// What a target may be.
struct TargetRule {
  const char* op;  // that asks
  int64_t classes;
  bool may_ignore;
  int64_t ignored;
  constexpr bool allows(int64_t target) const {
    return (target >= 0 && target < classes) || (may_ignore && target == ignored);
  }
  /// The nearest class.
  constexpr int64_t nearest(int64_t target) const { return target < 0 ? 0 : target < classes ? target : classes - 1; }
};
inline constexpr const char* kTargetRule = "targets must lie in [0, {}); got {} at position {}.";

template <class T>
struct LossKernels {
  /// Copies targets, the nearest class for those that are not allowed. The first of these: its position plus 1, else 0;
  /// on CUDA 0, and it is raised when the host next waits.
  int64_t (*copy_targets)(const TargetRule& rule, int64_t n, const int64_t* from, int64_t* to);
  /// *factor = 1 / the sum of the weights (null: ones) of the targets that are not ignored.
  void (*mean_factor)(int64_t n, int64_t ignored, const int64_t* targets, const T* w, double* factor);
  /// The sum of the losses, added up in double, times *factor unless that is null.
  void (*total)(int64_t n, const T* losses, const double* factor, T* y);
};

/// The factor of each item's gradient: gy itself without reduction, else its one value times *factor unless that is
/// null.
template <class T>
struct ItemGradient {
  const T* values;
  const double* factor;
  bool shared;
  constexpr T operator()(int64_t item) const {
    if (!shared) return values[item];
    return factor ? values[0] * static_cast<T>(*factor) : values[0];
  }
};

}  // namespace cnnx
