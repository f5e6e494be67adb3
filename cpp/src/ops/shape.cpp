// reshape and its relatives (views), and transpose, concat, pad and first-axis indexing (copies).
#include "ops/shape.h"

#include <cstring>

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "ops/reflect.h"
#include "tensor_impl.h"

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

std::array<int64_t, Shape::kMaxRank> strides_of(const Shape& shape) {
  std::array<int64_t, Shape::kMaxRank> strides{};
  int64_t stride = 1;
  for (int axis = shape.rank(); axis-- > 0;) {
    strides[static_cast<size_t>(axis)] = stride;
    stride *= shape[axis];
  }
  return strides;
}

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

Tensor concat(std::span<const Tensor> tensors, int axis) {
  const char* op = "concat";
  check(!tensors.empty() && tensors[0].defined(), op, "expected at least one tensor; got none.");
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

// ---- First-axis indexing

namespace {

/// Rows of x: a sequence of them, or those whose numbers `table` has.
Tensor gather(const char* op, const Tensor& x, const RowList& rows, const Tensor& table, const Shape& shape) {
  Tensor y = empty_like(x, shape);
  const int64_t length = x.shape()[0], row_values = length ? x.numel() / length : 0;
  const auto with_table = [rows, table] {
    RowList list = rows;
    list.table = data_or_null<int64_t>(table);
    return list;
  };
  kernels<ShapeKernels>(x.device())
      .gather_rows(with_table(), row_values * dtype_size(x.dtype()), x.raw_data(), y.raw_data());
  if (!grad_needed({&x})) return y;
  return record(op, y, {&x}, [=, from = x.shape()](const Tensor& gy) -> Gradients {
    Tensor gx = empty_like(gy, from);
    dispatch_floating(gy.dtype(), [&](auto t) {
      using T = decltype(t);
      kernels<RowKernels<T>>(gy.device()).scatter_add(with_table(), length, row_values, gy.data<T>(), gx.data<T>());
    });
    return {gx};
  });
}

Shape with_first(const Shape& shape, int64_t length) {
  Shape result = shape;
  result[0] = length;
  return result;
}

}  // namespace

Tensor Tensor::select(int64_t index) const {
  check<std::out_of_range>(rank() > 0, "index", "a tensor without axes cannot be indexed. Use item().");
  const int64_t length = shape()[0];
  check<std::out_of_range>(index >= -length && index < length, "index", "index must lie in [{}, {}); got {}.", -length,
                           length, index);
  const Shape rest(std::span(shape().begin() + 1, shape().end()));
  return gather("index", *this, {1, index < 0 ? index + length : index, 0, nullptr}, {}, rest);
}

Tensor Tensor::slice(int64_t start, int64_t stop, int64_t step) const {
  check<std::out_of_range>(rank() > 0, "slice", "a tensor without axes cannot be sliced.");
  check(step != 0, "slice", "step must not be zero.");
  const int64_t length = shape()[0];
  const auto clamp_to = [&](int64_t value) {
    if (value < 0) value += length;
    return step > 0 ? std::clamp<int64_t>(value, 0, length) : std::clamp<int64_t>(value, -1, length - 1);
  };
  const int64_t first = clamp_to(start), last = clamp_to(stop);
  const int64_t span = step > 0 ? last - first : first - last;
  const uint64_t stride = step > 0 ? static_cast<uint64_t>(step) : uint64_t{0} - static_cast<uint64_t>(step);
  const int64_t count = span > 0 ? static_cast<int64_t>(static_cast<uint64_t>(span - 1) / stride) + 1 : 0;
  return gather("slice", *this, {count, first, step, nullptr}, {}, with_first(shape(), count));
}

Tensor Tensor::index_rows(const Tensor& rows) const {
  check<std::out_of_range>(rank() > 0, "index", "a tensor without axes cannot be indexed.");
  check(rows.defined() && rows.dtype() == DType::kInt64 && rows.rank() == 1, "index",
        "expected a one-axis int64 tensor of row numbers.");
  const int64_t length = shape()[0];
  Tensor table = empty_like(rows);
  const int64_t wrong = kernels<ShapeKernels>(rows.device())
                            .check_rows(length, rows.numel(), rows.data<int64_t>(), table.data<int64_t>());
  if (wrong > 0) fail<std::out_of_range>("index", kRowRule, -length, length, rows.data<int64_t>()[wrong - 1]);
  table = table.to(device());
  return gather("index", *this, {rows.numel(), 0, 0, nullptr}, table, with_first(shape(), rows.numel()));
}

}  // namespace cnnx
