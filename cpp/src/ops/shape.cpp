// reshape and its relatives (views), and transpose, concat and pad (copies).
#include "ops/shape.h"

#include <cstring>

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "ops/reflect.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {

// ---- Views

Tensor Tensor::reshape(const Shape& wanted) const {
  Shape target = wanted;
  int unknown = -1;
  for (int axis = 0; axis < target.rank(); ++axis) {
    if (target[axis] != -1) continue;
    check(unknown < 0, "reshape", "only one length may be -1; got {}.", wanted);
    unknown = axis;
    target[axis] = 1;
  }
  check_numel("reshape", target);
  const int64_t known = target.numel();
  const bool fits = unknown < 0 ? known == numel() : known > 0 && numel() % known == 0;
  check(fits, "reshape", "{} values of shape {} do not fill shape {}.", numel(), shape(), wanted);
  if (unknown >= 0) target[unknown] = numel() / known;
  Tensor y = make_tensor(impl_->storage, target, dtype());
  if (!grad_needed({this})) return y;
  return record("reshape", y, {this}, [from = shape()](const Tensor& gy) -> Gradients { return {gy.reshape(from)}; });
}

Tensor Tensor::flatten(int start_axis, int end_axis) const {
  if (rank() == 0) return reshape({1});
  const int start = normalize_axis("flatten", start_axis, rank()), end = normalize_axis("flatten", end_axis, rank());
  check(start <= end, "flatten", "start must not come after end; got {} and {}.", start_axis, end_axis);
  Shape target;
  int64_t merged = 1;
  for (int axis = 0; axis < rank(); ++axis) {
    if (axis >= start && axis <= end) merged *= shape()[axis];
    if (axis == end) target.push_back(merged);
    if (axis < start || axis > end) target.push_back(shape()[axis]);
  }
  return reshape(target);
}

Tensor Tensor::squeeze(int axis) const {
  const int at = normalize_axis("squeeze", axis, rank());
  check(shape()[at] == 1, "squeeze", "the axis must have length 1; got axis {} of shape {}.", axis, shape());
  Shape target;
  for (int i = 0; i < rank(); ++i) {
    if (i != at) target.push_back(shape()[i]);
  }
  return reshape(target);
}

Tensor Tensor::unsqueeze(int axis) const {
  const int at = normalize_axis("unsqueeze", axis, rank() + 1);
  Shape target;
  for (int i = 0; i <= rank(); ++i) {
    if (i == at) target.push_back(1);
    if (i < rank()) target.push_back(shape()[i]);
  }
  return reshape(target);
}

// ---- Block copies

namespace {

int64_t offset_of(const Shape& shape, std::span<const int64_t> position) {
  const auto strides = strides_of(shape);
  int64_t offset = 0;
  for (size_t axis = 0; axis < position.size(); ++axis) offset += position[axis] * strides[axis];
  return offset;
}

/// Copies the block of `sizes` at from_position of x to to_position of y (same rank and dtype).
void copy_block(const Shape& sizes, const Tensor& x, std::span<const int64_t> from_position, Tensor& y,
                std::span<const int64_t> to_position) {
  if (sizes.numel() == 0) return;
  CopyGeometry g;
  g.rank = std::max(1, sizes.rank());
  g.sizes[0] = 1;
  std::copy(sizes.begin(), sizes.end(), g.sizes.begin());
  g.from = strides_of(x.shape());
  g.to = strides_of(y.shape());
  const int64_t item = dtype_size(x.dtype());
  const auto* source = static_cast<const char*>(x.raw_data()) + offset_of(x.shape(), from_position) * item;
  auto* target = static_cast<char*>(y.raw_data()) + offset_of(y.shape(), to_position) * item;
  kernels<ShapeKernels>(x.device()).copy_block(g, item, source, target);
}

/// The block of `sizes` at a position, as a tensor of its own.
Tensor extract(const Tensor& x, const Shape& sizes, std::span<const int64_t> position) {
  Tensor y = empty_like(x, sizes);
  const std::array<int64_t, Shape::kMaxRank> origin{};
  copy_block(sizes, x, position, y, std::span(origin).first(position.size()));
  return y;
}

Tensor transposed(const Tensor& x, int a, int b) {
  Shape shape = x.shape();
  std::swap(shape[a], shape[b]);
  Tensor y = empty_like(x, shape);
  if (y.numel() == 0) return y;
  CopyGeometry g;
  g.rank = std::max(1, shape.rank());
  g.sizes[0] = 1;
  std::copy(shape.begin(), shape.end(), g.sizes.begin());
  g.from = strides_of(x.shape());
  std::swap(g.from[static_cast<size_t>(a)], g.from[static_cast<size_t>(b)]);
  g.to = strides_of(shape);
  kernels<ShapeKernels>(x.device()).copy_block(g, dtype_size(x.dtype()), x.raw_data(), y.raw_data());
  return y;
}

}  // namespace

Tensor Tensor::transpose(int axis0, int axis1) const {
  const int a = normalize_axis("transpose", axis0, rank()), b = normalize_axis("transpose", axis1, rank());
  Tensor y = transposed(detach(), a, b);
  if (!grad_needed({this})) return y;
  return record("transpose", y, {this}, [a, b](const Tensor& gy) -> Gradients { return {transposed(gy, a, b)}; });
}

namespace {

/// The tensors in the widest dtype of theirs; empty if they have one already.
std::vector<Tensor> in_one_dtype(std::span<const Tensor> tensors) {
  DType dtype = tensors[0].dtype();
  for (const Tensor& x : tensors) dtype = x.defined() ? promote_types(dtype, x.dtype()) : dtype;
  const auto is_narrower = [&](const Tensor& x) { return x.defined() && x.dtype() != dtype; };
  if (std::none_of(tensors.begin(), tensors.end(), is_narrower)) return {};
  std::vector<Tensor> result(tensors.begin(), tensors.end());
  for (Tensor& x : result) {
    if (is_narrower(x) && are_at_most_float32(x, tensors[0])) x = x.to(dtype);
  }
  return result;
}

}  // namespace

Tensor concat(std::span<const Tensor> tensors, int axis) {
  const char* op = "concat";
  check(!tensors.empty() && tensors[0].defined(), op, "expected at least one tensor; got none.");
  const std::vector<Tensor> promoted = is_under_autocast(tensors[0]) ? in_one_dtype(tensors) : std::vector<Tensor>();
  if (!promoted.empty()) tensors = promoted;
  const Tensor& first = tensors[0];
  check(first.rank() > 0, op, "tensors without axes cannot be joined. Use unsqueeze(0).");
  const int at = normalize_axis(op, axis, first.rank());
  Shape shape = first.shape();
  shape[at] = 0;
  for (const Tensor& x : tensors) {
    check(x.defined(), op, "expected tensors; got an undefined one.");
    check_like(op, "all tensors", first, x);
    Shape others = x.shape();
    if (others.rank() == shape.rank()) others[at] = first.shape()[at];
    check(others == first.shape(), op, "shapes must agree but for axis {}; got {} and {}.", at, first.shape(),
          x.shape());
    shape[at] += x.shape()[at];
  }
  Tensor y = empty_like(first, shape);
  const std::array<int64_t, Shape::kMaxRank> origin{};
  std::array<int64_t, Shape::kMaxRank> position{};
  const auto rank = static_cast<size_t>(shape.rank());
  std::vector<Shape> shapes;
  for (const Tensor& x : tensors) {
    copy_block(x.shape(), x, std::span(origin).first(rank), y, std::span(position).first(rank));
    position[static_cast<size_t>(at)] += x.shape()[at];
    shapes.push_back(x.shape());
  }
  if (!grad_needed(tensors)) return y;
  std::vector<bool> needed;
  for (const Tensor& x : tensors) needed.push_back(x.requires_grad());
  return record(op, y, tensors, [=](const Tensor& gy) {
    Gradients grads(shapes.size());
    std::array<int64_t, Shape::kMaxRank> from{};
    for (size_t i = 0; i < shapes.size(); ++i) {
      if (needed[i]) grads[i] = extract(gy, shapes[i], std::span(from).first(rank));
      from[static_cast<size_t>(at)] += shapes[i][at];
    }
    return grads;
  });
}

Tensor pad(const Tensor& x, std::span<const int64_t> padding, Scalar value, PadMode mode) {
  const char* op = "pad";
  check(x.defined(), op, "expected a tensor; got an undefined one.");
  check(padding.size() % 2 == 0 && padding.size() <= 2 * static_cast<size_t>(x.rank()), op,
        "expected (before, after) for at most {} axes, last axis first; got {} numbers.", x.rank(), padding.size());
  Shape shape = x.shape();
  std::array<int64_t, Shape::kMaxRank> position{};
  for (size_t i = 0; i < padding.size(); i += 2) {
    const int axis = x.rank() - 1 - static_cast<int>(i / 2);
    check(padding[i] >= 0 && padding[i + 1] >= 0, op,
          "padding must not be negative; got {} and {}. Use slicing to crop.", padding[i], padding[i + 1]);
    check(padding[i] < (int64_t{1} << 31) && padding[i + 1] < (int64_t{1} << 31), op,
          "padding must be less than 2^31; got {} and {}.", padding[i], padding[i + 1]);
    position[static_cast<size_t>(axis)] = padding[i];
    shape[axis] += padding[i] + padding[i + 1];
  }
  if (mode == PadMode::kReflect) {
    check_floating(op, x);
    check(padding.size() <= 4, op, "mode \"reflect\" pads the last two axes; got {} numbers.", padding.size());
    return padding.empty() ? x : reflect(op, x, padding, shape);
  }
  Tensor y = full(shape, value, {x.dtype(), x.device()});
  const auto rank = static_cast<size_t>(x.rank());
  const std::array<int64_t, Shape::kMaxRank> origin{};
  copy_block(x.shape(), x, std::span(origin).first(rank), y, std::span(position).first(rank));
  if (!grad_needed({&x})) return y;
  return record(op, y, {&x}, [=, from = x.shape()](const Tensor& gy) -> Gradients {
    return {extract(gy, from, std::span(position).first(rank))};
  });
}

}  // namespace cnnx
