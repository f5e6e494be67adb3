// Kernels of the optimisers: one parallel pass over pieces of all parameters.
#pragma once

#include <cstdint>
#include <span>

namespace cnnx {

struct SGDRule {
  double lr, momentum, dampening, weight_decay;
  bool nesterov, first;  // first: the momentum buffer is not filled yet
  bool operator==(const SGDRule&) const = default;
};
struct AdamRule {
  double lr, beta1, beta2, eps, weight_decay;
  bool decoupled;
  double correction1, correction2;  // 1 - beta^step
  bool operator==(const AdamRule&) const = default;
};
struct RMSpropRule {
  double lr, alpha, eps, weight_decay, momentum;
  bool centered;
  bool operator==(const RMSpropRule&) const = default;
};
struct AdagradRule {
  double lr, eps, weight_decay;  // lr with the decay of this step
  bool operator==(const AdagradRule&) const = default;
};

/// Part of a product: g[k][i] = sum over r < depth of left[r * left_step + k] * right[r * right_step + i] for k < rows.
/// Row k of the parameter and its state begins k * right_step values behind row 0. Behind the last row of `right` a
/// vector may be read.
template <class T>
struct ProductBlock {
  static constexpr int64_t kMostRows = 8;
  const T* left;
  const T* right;
  int64_t depth, left_step, right_step, rows;
};

/// A run of values of one parameter, or a block of rows, with its gradient, its state and the rule of its group.
template <class T, class Rule>
struct Piece {
  T* w;
  const T* g;  // null: what `product` gives
  ProductBlock<T> product;
  T* state[3];
  int64_t n;  // of each row, if it is a product
  Rule rule;
  const Rule* live;  // where a captured step finds the rule of each run, in device memory; null: it is `rule`
};

/// The values of one gradient.
template <class T>
struct GradientRun {
  T* g;
  int64_t n;
};

template <class T>
struct OptimizerKernels {
  void (*sgd)(std::span<const Piece<T, SGDRule>> pieces);          // state: momentum buffer
  void (*adam)(std::span<const Piece<T, AdamRule>> pieces);        // running mean and mean square
  void (*rmsprop)(std::span<const Piece<T, RMSpropRule>> pieces);  // mean square, momentum buffer, mean
  void (*adagrad)(std::span<const Piece<T, AdagradRule>> pieces);  // sum of squares
  /// *sum = the sum of squares of x, the same for any number of threads.
  void (*square_sum)(int64_t n, const T* x, double* sum);
  /// *norm = the root of the sum of the sums; *factor = what brings it to `most`.
  void (*clip_factor)(int64_t count, const double* sums, double most, double* norm, double* factor);
  /// x *= *factor, if that is below 1.
  void (*shrink)(int64_t n, const double* factor, T* x);
  /// Multiplies all values by the factor. *found = 1 if one was not finite before.
  void (*unscale)(std::span<const GradientRun<T>> runs, T factor, int64_t* found);
};

/// The factor of clip_grad_norm; NaN of NaN.
constexpr double factor_to(double most, double norm) { return most / (norm + 1e-6); }

}  // namespace cnnx
