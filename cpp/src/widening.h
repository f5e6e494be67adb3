// Operations on 16-bit tensors: they are computed in float32 and rounded, and all of that is here.
//
// An operation hands over with
//   if (is_16_bit(x)) return in_float32(x.dtype(), [&](const Tensor& wide) { return op(wide, options); }, x);
// The conversions are recorded, so that every gradient has its tensor's dtype. What the operation saves of its inputs
// and of its output is kept in 16 bits.
#pragma once

#include <concepts>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "cnnx/precision.h"
#include "cnnx/tensor.h"

namespace cnnx {

inline bool is_16_bit(const Tensor& x) { return x.defined() && is_16_bit(x.dtype()); }

/// While one lives, this thread computes on float32 copies of 16-bit tensors.
class Widening {
 public:
  Widening();
  ~Widening();
  Widening(const Widening&) = delete;
  Widening& operator=(const Widening&) = delete;
  /// The innermost one, or null.
  static Widening* current();

  /// Whether the tensor is one of its copies.
  bool made(const Tensor& x) const { return find(x) != nullptr; }
  /// The tensor, or the copy if it is of 16 bits.
  Tensor widened(const Tensor& x);
  /// The result, rounded if its dtype is another one.
  Tensor rounded(Tensor y, DType dtype);
  /// What stands for a tensor that the tape keeps: of a copy, the original.
  Tensor to_keep(const Tensor& x);

 private:
  struct Copy {
    Tensor original, wide;
  };
  const Copy* find(const Tensor& wide) const;  // null if there is none

  std::vector<Copy> copies_;
  std::vector<Tensor> kept_;  // of other tensors: one may turn out to be the result
  Widening* const outer_;
};

/// fn of the tensors, float32 copies of those of 16 bits. A result of floating-point numbers is rounded to `dtype`.
template <class Fn, std::same_as<Tensor>... Tensors>
Tensor in_float32(DType dtype, const Fn& fn, const Tensors&... tensors) {
  Widening widening;
  return widening.rounded(fn(widening.widened(tensors)...), dtype);
}

/// fn(x), or of a copy in float32 whose values are rounded back into x.
template <class Fn>
void change_in_float32(Tensor& x, const Fn& fn) {
  if (!is_16_bit(x)) return fn(x);
  const NoGradGuard no_grad;
  Tensor wide = x.to(DType::kFloat32);
  fn(wide);
  x.detach().copy_(wide);
}

/// Whether autocast counts for a product of this tensor with others.
bool is_under_autocast(const Tensor& x);
/// The 16-bit dtype of a product's result, which is then computed by product_in_float32(). None: it is x's own, and
/// wide.
std::optional<DType> narrow_product(const Tensor& x);
/// The dtype of a result that autocast leaves in float32.
DType wide_result(const Tensor& x);

/// in_float32() of a convolution or matrix product: on a GPU, in the precision that `dtype` has.
template <class Fn, std::same_as<Tensor>... Tensors>
Tensor product_in_float32(DType dtype, const Fn& fn, const Tensors&... tensors) {
  const AutocastGuard precision(dtype == DType::kFloat16 ? Precision::kFloat16 : Precision::kBFloat16);
  return in_float32(dtype, fn, tensors...);
}

/// Another operand of a product: check_like(), but under autocast, float32 and both 16-bit dtypes go together.
void check_factor(std::string_view op, const char* name, const Tensor& x, const Tensor& other);
/// A parameter that takes no part in a product: check_like(), but float32 goes with 16-bit inputs.
void check_like_or_float32(std::string_view op, const char* name, const Tensor& x, const Tensor& parameter);
/// Whether one can be converted to the other's dtype without a word: they are of 16 bits or float32.
bool are_at_most_float32(const Tensor& a, const Tensor& b);

}  // namespace cnnx
