// Indexing: parts by integers and slices, read and written, and rows by their numbers.
#include <algorithm>

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "ops/broadcast.h"
#include "ops/shape.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {

constexpr const char* kRead = "index";
constexpr const char* kWrite = "setitem";

// ---- Parts

/// What an index takes of a tensor: where it begins and how far neighbours are apart, in values.
struct Part {
  Shape shape;
  Strides strides{};
  int64_t offset = 0;

  void push_back(int64_t length, int64_t stride) {
    shape.push_back(length);
    strides[static_cast<size_t>(shape.rank()) - 1] = stride;
  }
};

int64_t place_of(int64_t number, int axis, int64_t length) {
  const bool fits = number >= -length && number < length;
  if (axis == 0) check<std::out_of_range>(fits, kRead, "index must lie in [{}, {}); got {}.", -length, length, number);
  check<std::out_of_range>(fits, kRead, "index on axis {} must lie in [{}, {}); got {}.", axis, -length, length,
                           number);
  return number < 0 ? number + length : number;
}

void push_slice(Part& part, const Slice& slice, int64_t length, int64_t stride) {
  const int64_t step = slice.step;
  check(step != 0, "slice", "step must not be zero.");
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? length : length - 1;
  const auto place = [&](std::optional<int64_t> bound, int64_t otherwise) {
    if (!bound) return otherwise;
    return std::clamp(*bound < 0 ? *bound + length : *bound, low, high);
  };
  const int64_t first = place(slice.start, step > 0 ? low : high), last = place(slice.stop, step > 0 ? high : low);
  const int64_t span = step > 0 ? last - first : first - last;
  const uint64_t apart = step > 0 ? static_cast<uint64_t>(step) : uint64_t{0} - static_cast<uint64_t>(step);
  const int64_t count = span > 0 ? static_cast<int64_t>(static_cast<uint64_t>(span - 1) / apart) + 1 : 0;
  if (count > 0) part.offset += first * stride;
  part.push_back(count, count > 1 ? step * stride : 0);
}

void check_entries(int count, const Shape& shape) {
  check<std::out_of_range>(count == 0 || shape.rank() > 0, kRead,
                           "a tensor without axes cannot be indexed. Use item().");
  check<std::out_of_range>(count <= shape.rank(), kRead,
                           "expected at most one entry for each of {} axes; got {} for shape {}.", shape.rank(), count,
                           shape);
}

Part part_of(const Shape& shape, std::span<const Index> index) {
  int named = 0, ellipses = 0;
  for (const Index& entry : index) {
    named += std::holds_alternative<int64_t>(entry) || std::holds_alternative<Slice>(entry);
    ellipses += std::holds_alternative<Ellipsis>(entry);
  }
  check_entries(named, shape);
  check<std::out_of_range>(ellipses <= 1, kRead, "an index may have one ellipsis; got {}.", ellipses);
  const Strides strides = strides_of(shape);
  Part part;
  int axis = 0;
  const auto push_whole = [&](int count) {
    for (; count > 0; --count, ++axis) part.push_back(shape[axis], strides[static_cast<size_t>(axis)]);
  };
  for (const Index& entry : index) {
    if (std::holds_alternative<NewAxis>(entry)) {
      part.push_back(1, 0);
    } else if (std::holds_alternative<Ellipsis>(entry)) {
      push_whole(shape.rank() - named);
    } else {
      const int64_t stride = strides[static_cast<size_t>(axis)];
      if (const auto* number = std::get_if<int64_t>(&entry)) {
        part.offset += place_of(*number, axis, shape[axis]) * stride;
      } else {
        push_slice(part, std::get<Slice>(entry), shape[axis], stride);
      }
      ++axis;
    }
  }
  push_whole(shape.rank() - axis);
  return part;
}

/// Neighbouring axes become one where both sides allow it, in runs so short that threads can share them.
CopyGeometry copy_geometry(const Shape& sizes, const Strides& from, const Strides& to) {
  constexpr int64_t kRun = 1 << 14;
  CopyGeometry g;
  for (int axis = sizes.rank(); axis-- > 0;) {  // from the last; the result's axes are in reverse
    const auto at = static_cast<size_t>(axis), top = static_cast<size_t>(g.rank) - 1;
    if (sizes[axis] == 1) continue;
    if (g.rank > 0 && g.sizes[top] * sizes[axis] <= kRun && from[at] == g.from[top] * g.sizes[top] &&
        to[at] == g.to[top] * g.sizes[top]) {
      g.sizes[top] *= sizes[axis];
    } else {
      const auto next = static_cast<size_t>(g.rank++);
      g.sizes[next] = sizes[axis];
      g.from[next] = from[at];
      g.to[next] = to[at];
    }
  }
  if (g.rank == 0) g.sizes[static_cast<size_t>(g.rank++)] = 1;
  for (Strides* list : {&g.sizes, &g.from, &g.to}) std::reverse(list->begin(), list->begin() + g.rank);
  return g;
}

void copy(const Shape& sizes, const Tensor& x, int64_t x_offset, const Strides& from, Tensor& y, int64_t y_offset,
          const Strides& to) {
  if (sizes.numel() == 0) return;
  const int64_t item = dtype_size(x.dtype());
  const auto* source = static_cast<const char*>(x.raw_data()) + x_offset * item;
  auto* target = static_cast<char*>(y.raw_data()) + y_offset * item;
  kernels<ShapeKernels>(x.device()).copy_block(copy_geometry(sizes, from, to), item, source, target);
}

Tensor read(const Tensor& x, const Part& part) {
  Tensor y = empty_like(x, part.shape);
  copy(part.shape, x, part.offset, part.strides, y, 0, strides_of(part.shape));
  return y;
}

/// Writes source, which broadcasts to the part's shape.
void write(Tensor& x, const Part& part, const Tensor& source) {
  const Strides dense = strides_of(source.shape());
  Strides from{};
  const int missing = part.shape.rank() - source.rank();
  for (int axis = 0; axis < source.rank(); ++axis) {
    if (source.shape()[axis] != 1) from[static_cast<size_t>(missing + axis)] = dense[static_cast<size_t>(axis)];
  }
  copy(part.shape, source, 0, from, x, part.offset, part.strides);
}

Tensor read_recorded(const Tensor& x, const Part& part) {
  const Tensor y = read(x, part);
  if (!grad_needed({&x})) return y;
  return record(kRead, y, {&x}, [part, from = x.shape()](const Tensor& gy) -> Gradients {
    Tensor gx = zeros(from, {gy.dtype(), gy.device()});
    write(gx, part, gy);
    return {gx};
  });
}

/// The value on x's device, in its dtype, and without axes that the part does not have.
Tensor to_write(const Tensor& x, const Part& part, Tensor value) {
  if (value.device() != x.device() && (value.device().is_cuda() || x.device().is_cuda())) value = value.to(x.device());
  check_same_device(kWrite, x, value);
  const Shape given = value.shape();
  const int extra = std::max(0, given.rank() - part.shape.rank());
  bool fits = std::all_of(given.begin(), given.begin() + extra, [](int64_t size) { return size == 1; });
  for (int back = 1; fits && back <= given.rank() - extra; ++back) {
    const int64_t size = given[given.rank() - back];
    fits = size == 1 || size == part.shape[part.shape.rank() - back];
  }
  check(fits, kWrite, "the value must broadcast to shape {}; got {}.", part.shape, given);
  if (extra > 0) value = value.reshape(Shape(std::span(given.begin() + extra, given.end())));
  value = value.to(x.dtype());
  return overlap(value, x) ? value.clone() : value;
}

// ---- Rows

/// The rows of x whose numbers the table has, checked before.
Tensor gather(const Tensor& x, const Tensor& table, const Shape& shape) {
  Tensor y = empty_like(x, shape);
  const int64_t length = x.shape()[0], row_values = length ? x.numel() / length : 0;
  kernels<ShapeKernels>(x.device())
      .gather_rows(table.numel(), table.data<int64_t>(), row_values * dtype_size(x.dtype()), x.raw_data(),
                   y.raw_data());
  if (!grad_needed({&x})) return y;
  return record(kRead, y, {&x}, [=, from = x.shape()](const Tensor& gradient) -> Gradients {
    const auto scattered = [&](const Tensor& gy) {
      Tensor gx = empty_like(gy, from);
      dispatch_floating(gy.dtype(), [&](auto t) {
        using T = decltype(t);
        kernels<RowKernels<T>>(gy.device())
            .scatter_add(table.numel(), table.data<int64_t>(), length, row_values, gy.data<T>(), gx.data<T>());
      });
      return gx;
    };
    return {in_float32(gradient.dtype(), scattered, gradient)};
  });
}

/// Numbers of [-length, length) as places of an axis, on `device`.
Tensor places_of(const Tensor& rows, int64_t length, Device device) {
  check(rows.defined() && rows.dtype() == DType::kInt64, kRead, "expected int64 row numbers.");
  Tensor table = empty_like(rows);
  if (rows.numel() == 0) return table.to(device);
  check<std::out_of_range>(length > 0, kRead, "an axis of length 0 has no rows; got {} row numbers.", rows.numel());
  const int64_t wrong = kernels<ShapeKernels>(rows.device())
                            .check_rows(length, rows.numel(), rows.data<int64_t>(), table.data<int64_t>());
  if (wrong > 0) fail<std::out_of_range>(kRead, kRowRule, -length, length, rows.data<int64_t>()[wrong - 1]);
  return table.to(device);
}

}  // namespace

Tensor Tensor::index(const std::vector<Index>& index) const { return read_recorded(*this, part_of(shape(), index)); }

Tensor Tensor::select(int64_t index) const {
  check_entries(1, shape());
  const Shape rest(std::span(shape().begin() + 1, shape().end()));
  const int64_t place = place_of(index, 0, shape()[0]);
  return read_recorded(*this, {rest, strides_of(rest), place * rest.numel()});
}

Tensor Tensor::slice(int64_t start, int64_t stop, int64_t step) const {
  const Index entry = Slice{start, stop, step};
  return read_recorded(*this, part_of(shape(), std::span(&entry, 1)));
}

Tensor& Tensor::index_put_(const std::vector<Index>& index, const Tensor& value) {
  check(value.defined(), kWrite, "expected a value; got an undefined tensor.");
  const Part part = part_of(shape(), index);
  const bool recorded = grad_needed({this, &value});
  if (recorded) {
    check<std::runtime_error>(!requires_grad() || !is_leaf(), kWrite,
                              "a leaf that requires a gradient cannot be written in place. Do it under no_grad().");
    check<std::runtime_error>(is_floating(dtype()), kWrite,
                              "no gradient passes through a tensor of {}. Assign value.detach().", dtype());
    const Storage& storage = *impl_->storage;
    check<std::runtime_error>(impl_->storage.use_count() == 1 + storage.loans(), kWrite,
                              "a write with a gradient needs memory that no other tensor shares, by reshape or "
                              "detach, and that no earlier operation keeps for its gradient. Write to x.clone().");
  }
  const Tensor source = to_write(*this, part, value);
  write(*this, part, source);
  impl_->storage->bump_version();
  if (!recorded) return *this;
  const bool need_x = requires_grad(), need_value = source.requires_grad();
  record(kWrite, *this, {this, &source}, [=, from = source.shape()](const Tensor& gy) {
    Gradients grads(2);
    if (need_value) grads[1] = sum_to(read(gy, part), from);
    if (need_x) {
      grads[0] = is_ours(gy) ? gy : gy.clone();
      write(grads[0], part, zeros({}, {gy.dtype(), gy.device()}));
    }
    return grads;
  });
  return *this;
}

Tensor Tensor::index_rows(const Tensor& rows) const { return index_rows(std::span(&rows, 1)); }

Tensor Tensor::index_rows(std::span<const Tensor> rows) const {
  const int axes = static_cast<int>(rows.size());
  check(axes > 0, kRead, "expected at least one tensor of row numbers.");
  check_entries(axes, shape());
  Tensor table = places_of(rows[0], shape()[0], device());
  int64_t places = shape()[0];
  for (int axis = 1; axis < axes; ++axis) {
    const int64_t length = shape()[axis];
    const Tensor next = places_of(rows[static_cast<size_t>(axis)], length, device());
    broadcast_shape(kRead, table.shape(), next.shape());
    table = table * length + next;
    places *= length;
  }
  Shape merged{places}, result = table.shape();
  for (int axis = axes; axis < rank(); ++axis) {
    merged.push_back(shape()[axis]);
    result.push_back(shape()[axis]);
  }
  return gather(axes == 1 ? *this : reshape(merged), table, result);
}

}  // namespace cnnx
