// sum, mean, max, min and argmax. Several axes are reduced run by run, last axes first.
#include "ops/reduce.h"

#include <algorithm>

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {

/// A run of neighbouring axes [first, last).
struct Run {
  int first;
  int last;
};

/// The wanted axes (all, if empty) as runs, from the back.
std::vector<Run> runs_of(const char* op, std::span<const int> axes, int rank) {
  std::array<bool, Shape::kMaxRank> wanted{};
  if (axes.empty()) std::fill(wanted.begin(), wanted.begin() + rank, true);
  for (const int axis : axes) {
    const auto at = static_cast<size_t>(normalize_axis(op, axis, rank));
    check(!wanted[at], op, "axis {} is named twice.", axis);
    wanted[at] = true;
  }
  std::vector<Run> runs;
  for (int axis = rank; axis-- > 0;) {
    if (!wanted[static_cast<size_t>(axis)]) continue;
    if (!runs.empty() && runs.back().first == axis + 1) {
      runs.back().first = axis;
    } else {
      runs.push_back({axis, axis + 1});
    }
  }
  return runs;
}

ReduceGeometry geometry(const Shape& shape, const Run& run) {
  ReduceGeometry g;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    (axis < run.first ? g.outer : axis < run.last ? g.length : g.inner) *= shape[axis];
  }
  return g;
}

/// The shape with the run's axes of length 1.
Shape kept_shape(Shape shape, const Run& run) {
  for (int axis = run.first; axis < run.last; ++axis) shape[axis] = 1;
  return shape;
}

/// Drops the reduced axes unless they are to stay.
Tensor finish(const Tensor& reduced, const std::vector<Run>& runs, bool keepdim) {
  if (keepdim) return reduced;
  Shape shape;
  for (int axis = 0; axis < reduced.rank(); ++axis) {
    const bool gone =
        std::any_of(runs.begin(), runs.end(), [&](const Run& run) { return axis >= run.first && axis < run.last; });
    if (!gone) shape.push_back(reduced.shape()[axis]);
  }
  return reduced.reshape(shape);
}

template <class F>
void dispatch_numeric(DType dtype, F&& fn) {
  if (dtype == DType::kInt64) {
    fn(int64_t{});
  } else {
    dispatch_floating(dtype, fn);
  }
}

Tensor sum_run(const Tensor& x, const Run& run) {
  const ReduceGeometry g = geometry(x.shape(), run);
  Tensor y = empty_like(x, kept_shape(x.shape(), run));
  dispatch_numeric(x.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<ReduceKernels<T>>(x.device()).sum(g, x.data<T>(), y.data<T>());
  });
  if (!grad_needed({&x})) return y;
  return record("sum", y, {&x}, [g, shape = x.shape()](const Tensor& gy) -> Gradients {
    Tensor gx = empty_like(gy, shape);
    dispatch_floating(gy.dtype(), [&](auto t) {
      using T = decltype(t);
      kernels<ReduceKernels<T>>(gy.device()).repeat(g, gy.data<T>(), gx.data<T>());
    });
    return {gx};
  });
}

struct Extreme {
  Tensor values;
  Tensor index;
};

Extreme extreme_run(const char* op, int sign, const Tensor& x, const Run& run) {
  const ReduceGeometry g = geometry(x.shape(), run);
  check(g.length > 0, op, "there is no value to take from an empty axis; got shape {}.", x.shape());
  const Shape shape = kept_shape(x.shape(), run);
  Extreme result{empty_like(x, shape), empty(shape, {DType::kInt64, x.device()})};
  dispatch_numeric(x.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<ReduceKernels<T>>(x.device())
        .extreme(g, sign, x.data<T>(), result.values.data<T>(), result.index.data<int64_t>());
  });
  if (!grad_needed({&x})) return result;
  result.values =
      record(op, result.values, {&x}, [g, index = result.index, from = x.shape()](const Tensor& gy) -> Gradients {
        Tensor gx = empty_like(gy, from);
        dispatch_floating(gy.dtype(), [&](auto t) {
          using T = decltype(t);
          kernels<ReduceKernels<T>>(gy.device()).scatter(g, gy.data<T>(), index.data<int64_t>(), gx.data<T>());
        });
        return {gx};
      });
  return result;
}

Tensor extreme(const char* op, int sign, const Tensor& x, std::span<const int> axes, bool keepdim) {
  check(x.defined(), op, "expected a tensor; got an undefined one.");
  if (is_16_bit(x)) {
    return in_float32(x.dtype(), [&](const Tensor& wide) { return extreme(op, sign, wide, axes, keepdim); }, x);
  }
  const std::vector<Run> runs = runs_of(op, axes, x.rank());
  const bool is_bool = x.dtype() == DType::kBool;
  Tensor y = is_bool ? x.to(DType::kInt64) : x;
  for (const Run& run : runs) y = extreme_run(op, sign, y, run).values;
  y = finish(y, runs, keepdim);
  return is_bool ? y.to(DType::kBool) : y;
}

}  // namespace

Tensor sum(const Tensor& x, std::span<const int> axes, bool keepdim) {
  check(x.defined(), "sum", "expected a tensor; got an undefined one.");
  if (is_16_bit(x)) {
    return in_float32(wide_result(x), [&](const Tensor& wide) { return sum(wide, axes, keepdim); }, x);
  }
  const std::vector<Run> runs = runs_of("sum", axes, x.rank());
  Tensor y = x.dtype() == DType::kBool ? x.to(DType::kInt64) : x;
  for (const Run& run : runs) y = sum_run(y, run);
  return finish(y, runs, keepdim);
}

Tensor mean(const Tensor& x, std::span<const int> axes, bool keepdim) {
  check(x.defined(), "mean", "expected a tensor; got an undefined one.");
  if (is_16_bit(x)) return in_float32(x.dtype(), [&](const Tensor& wide) { return mean(wide, axes, keepdim); }, x);
  const Tensor values = is_floating(x.dtype()) ? x : x.to(DType::kFloat32);
  const Tensor total = sum(values, axes, keepdim);
  double count = 1;
  for (const Run& run : runs_of("mean", axes, x.rank())) count *= static_cast<double>(geometry(x.shape(), run).length);
  return total * (1.0 / count);
}

Tensor max(const Tensor& x, std::span<const int> axes, bool keepdim) { return extreme("max", 1, x, axes, keepdim); }
Tensor min(const Tensor& x, std::span<const int> axes, bool keepdim) { return extreme("min", -1, x, axes, keepdim); }

Tensor argmax(const Tensor& x, std::optional<int> axis, bool keepdim) {
  check(x.defined(), "argmax", "expected a tensor; got an undefined one.");
  Tensor values = x.detach();
  if (x.dtype() == DType::kBool) values = values.to(DType::kInt64);
  if (is_16_bit(x)) values = values.to(DType::kFloat32);
  const std::vector<Run> runs =
      axis
          ? std::vector<Run>{{normalize_axis("argmax", *axis, x.rank()), normalize_axis("argmax", *axis, x.rank()) + 1}}
          : std::vector<Run>{{0, x.rank()}};
  return finish(extreme_run("argmax", 1, values, runs[0]).index, runs, keepdim);
}

Tensor Tensor::sum(std::span<const int> axes, bool keepdim) const { return cnnx::sum(*this, axes, keepdim); }
Tensor Tensor::mean(std::span<const int> axes, bool keepdim) const { return cnnx::mean(*this, axes, keepdim); }
Tensor Tensor::max(std::span<const int> axes, bool keepdim) const { return cnnx::max(*this, axes, keepdim); }
Tensor Tensor::min(std::span<const int> axes, bool keepdim) const { return cnnx::min(*this, axes, keepdim); }
Tensor Tensor::argmax(std::optional<int> axis, bool keepdim) const { return cnnx::argmax(*this, axis, keepdim); }

}  // namespace cnnx
