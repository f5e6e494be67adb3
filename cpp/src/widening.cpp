#include "widening.h"

#include <algorithm>
#include <utility>

#include "autograd.h"
#include "check.h"
#include "tensor_impl.h"

namespace cnnx {
namespace {

thread_local Widening* innermost = nullptr;

bool is_at_most_float32(DType dtype) { return is_16_bit(dtype) || dtype == DType::kFloat32; }

bool share_memory(const Tensor& a, const Tensor& b) { return a.impl()->storage == b.impl()->storage; }

}  // namespace

Widening::Widening() : outer_(std::exchange(innermost, this)) {}
Widening::~Widening() { innermost = outer_; }
Widening* Widening::current() { return innermost; }

Tensor Widening::widened(const Tensor& x) {
  if (!is_16_bit(x)) return x;
  for (const Copy& copy : copies_) {
    if (copy.original.impl() == x.impl()) return copy.wide;
  }
  return copies_.emplace_back(Copy{x, x.to(DType::kFloat32)}).wide;
}

Tensor Widening::rounded(Tensor y, DType dtype) {
  if (!is_floating(y.dtype()) || y.dtype() == dtype) return y;
  const DType from = y.dtype();
  Tensor result = y.detach().to(dtype);
  if (result.impl()->storage->version() == y.impl()->storage->version()) {
    for (const Tensor& kept : kept_) {
      if (!share_memory(kept, y)) continue;
      kept.impl()->storage = result.impl()->storage;
      kept.impl()->dtype = dtype;
    }
  }
  if (!grad_needed({&y})) return result;
  const char* const op = y.impl()->node->op;
  return record(op, result, {&y}, [from](const Tensor& gy) -> Gradients { return {gy.to(from)}; });
}

const Widening::Copy* Widening::find(const Tensor& wide) const {
  const auto found =
      std::find_if(copies_.begin(), copies_.end(), [&](const Copy& copy) { return share_memory(copy.wide, wide); });
  return found == copies_.end() ? nullptr : &*found;
}

Tensor Widening::to_keep(const Tensor& x) {
  if (const Copy* const copy = find(x)) {
    return make_tensor(copy->original.impl()->storage, x.shape(), copy->original.dtype());
  }
  return kept_.emplace_back(x.detach());
}

bool is_under_autocast(const Tensor& x) {
  const Precision precision = autocast_precision();
  return (precision == Precision::kBFloat16 || precision == Precision::kFloat16) && !innermost &&
         x.device().is_cuda() && is_at_most_float32(x.dtype());
}

std::optional<DType> narrow_product(const Tensor& x) {
  if (is_under_autocast(x)) return autocast_precision() == Precision::kFloat16 ? DType::kFloat16 : DType::kBFloat16;
  return is_16_bit(x) ? std::optional(x.dtype()) : std::nullopt;
}

DType wide_result(const Tensor& x) { return is_under_autocast(x) ? DType::kFloat32 : x.dtype(); }

void check_factor(std::string_view op, const char* name, const Tensor& x, const Tensor& other) {
  if (!other.defined() || !is_under_autocast(x) || !is_at_most_float32(other.dtype()))
    return check_like(op, name, x, other);
  check_same_device(op, x, other);
}

void check_like_or_float32(std::string_view op, const char* name, const Tensor& x, const Tensor& parameter) {
  const bool is_wider = is_16_bit(x) && parameter.defined() && parameter.dtype() == DType::kFloat32;
  if (is_wider) return check_same_device(op, x, parameter);
  check_like(op, name, x, parameter);
}

bool are_at_most_float32(const Tensor& a, const Tensor& b) {
  return is_at_most_float32(a.dtype()) && is_at_most_float32(b.dtype());
}

}  // namespace cnnx
