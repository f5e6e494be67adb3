// add, sub, mul, div, pow and comparisons with NumPy broadcasting and dtype promotion (bool < int64 < float16 and
// bfloat16 < float32 < float64).
#include "ops/binary.h"

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "ops/unary.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {

Shape broadcast_shape(std::string_view op, const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  Shape result;
  for (int axis = 0; axis < rank; ++axis) {
    const int axis_a = axis - (rank - a.rank()), axis_b = axis - (rank - b.rank());
    const int64_t size_a = axis_a < 0 ? 1 : a[axis_a], size_b = axis_b < 0 ? 1 : b[axis_b];
    check(size_a == size_b || size_a == 1 || size_b == 1, op,
          "shapes do not broadcast; got {} and {}. Lengths must be equal or 1, counted from the last axis.", a, b);
    result.push_back(size_a == 1 ? size_b : size_a);
  }
  return result;
}

Broadcast make_broadcast(const Shape& a, const Shape& b, const Shape& result) {
  Broadcast g;
  g.numel = result.numel();
  int64_t stride_a = 1, stride_b = 1;
  // From the last axis; axes are collected in reverse and merged when both operands continue where the last one ended.
  for (int back = 0; back < result.rank(); ++back) {
    const int64_t size = result[result.rank() - 1 - back];
    const int64_t size_a = back < a.rank() ? a[a.rank() - 1 - back] : 1;
    const int64_t size_b = back < b.rank() ? b[b.rank() - 1 - back] : 1;
    if (size == 1) continue;
    const int64_t step_a = size_a == 1 ? 0 : stride_a, step_b = size_b == 1 ? 0 : stride_b;
    const auto top = static_cast<size_t>(g.rank) - 1;
    if (g.rank > 0 && step_a == g.stride_a[top] * g.sizes[top] && step_b == g.stride_b[top] * g.sizes[top]) {
      g.sizes[top] *= size;
    } else {
      const auto next = static_cast<size_t>(g.rank++);
      g.sizes[next] = size;
      g.stride_a[next] = step_a;
      g.stride_b[next] = step_b;
    }
    stride_a *= size_a;
    stride_b *= size_b;
  }
  if (g.rank == 0) {
    g.rank = 1;
    g.sizes[0] = 1;
  }
  std::reverse(g.sizes.begin(), g.sizes.begin() + g.rank);
  std::reverse(g.stride_a.begin(), g.stride_a.begin() + g.rank);
  std::reverse(g.stride_b.begin(), g.stride_b.begin() + g.rank);
  return g;
}

Tensor sum_to(const Tensor& grad, const Shape& shape) {
  if (grad.shape() == shape) return grad;
  const int extra = grad.rank() - shape.rank();
  std::vector<int> axes;
  for (int axis = 0; axis < grad.rank(); ++axis) {
    if (axis < extra || (shape[axis - extra] == 1 && grad.shape()[axis] != 1)) axes.push_back(axis);
  }
  if (axes.empty()) return grad.reshape(shape);
  return sum(grad, axes).reshape(shape);
}

namespace {

/// y = op(a, b), all of one dtype; y may be a, or b where that is not repeated.
void run_into(BinaryOp op, const Tensor& a, const Tensor& b, Tensor& y) {
  if (y.numel() == 0) return;
  const Broadcast g = make_broadcast(a.shape(), b.shape(), y.shape());
  const auto apply = [&](auto t) {
    using T = decltype(t);
    kernels<BinaryKernels<T>>(a.device()).apply(op, g, a.data<T>(), b.data<T>(), y.data<T>());
  };
  if (a.dtype() == DType::kInt64) {
    apply(int64_t{});
  } else {
    dispatch_floating(a.dtype(), apply);
  }
}

Tensor run(BinaryOp op, const Tensor& a, const Tensor& b, const Shape& shape) {
  Tensor y = empty(shape, {a.dtype(), a.device()});
  run_into(op, a, b, y);
  return y;
}

/// Gradients of y = op(a, b) before the sum over repeated axes.
Tensor grad_a(BinaryOp op, const Tensor& gy, const Tensor& a, const Tensor& b) {
  switch (op) {
    case BinaryOp::kMul: return gy * b;
    case BinaryOp::kDiv: return gy / b;
    case BinaryOp::kPow:
      return gy * b *
             pow(a, b - 1.0 +
                        compare(Comparison::kEq, b, zeros({}, {DType::kFloat32, b.device()})));  // a^0: 0, not 0 * inf
    default: return gy;
  }
}
Tensor grad_b(BinaryOp op, const Tensor& gy, const Tensor& a, const Tensor& b, const Tensor& y) {
  switch (op) {
    case BinaryOp::kAdd: return gy;
    case BinaryOp::kSub: return -gy;
    case BinaryOp::kMul: return gy * a;
    case BinaryOp::kDiv: return -(gy * y / b);
    default: {  // where a is 0 and b is not negative: 0, not 0 * -inf
      const Tensor zero = zeros({}, {DType::kFloat32, a.device()});
      return gy * y * log(a + compare(Comparison::kEq, a, zero) * compare(Comparison::kGe, b, zero));
    }
  }
}

struct OpName {
  BinaryOp op;
  const char* name;
};

Tensor binary(OpName what, Tensor a, Tensor b) {
  const auto [op, name] = what;
  check(a.defined() && b.defined(), name, "expected two tensors; got an undefined one.");
  check_same_device(name, a, b);
  const Shape shape = broadcast_shape(name, a.shape(), b.shape());
  DType dtype = std::max(promote_types(a.dtype(), b.dtype()), DType::kInt64);
  if (op == BinaryOp::kDiv && !is_floating(dtype)) dtype = DType::kFloat32;
  a = a.to(dtype);
  b = b.to(dtype);
  if (is_16_bit(dtype)) {
    return in_float32(
        op == BinaryOp::kPow ? wide_result(a) : dtype,
        [&](const Tensor& wide_a, const Tensor& wide_b) { return binary(what, wide_a, wide_b); }, a, b);
  }
  Tensor y = run(op, a, b, shape);
  if (!grad_needed({&a, &b})) return y;
  const bool need_a = a.requires_grad(), need_b = b.requires_grad();
  const bool linear = op == BinaryOp::kAdd || op == BinaryOp::kSub;
  Saved saved_a, saved_b, saved_y;
  if (!linear) {
    const bool needs_a_value = need_b || op == BinaryOp::kPow;
    if (needs_a_value && op != BinaryOp::kDiv) saved_a = save(a);
    if (need_a || op != BinaryOp::kMul) saved_b = save(b);
    if (need_b && (op == BinaryOp::kDiv || op == BinaryOp::kPow)) saved_y = save(y);
  }
  return record(name, y, {&a, &b}, [=, shape_a = a.shape(), shape_b = b.shape()](const Tensor& gy) {
    const Tensor va = saved_a.get(name), vb = saved_b.get(name);
    Gradients grads(2);
    if (need_a) grads[0] = sum_to(grad_a(op, gy, va, vb), shape_a);
    if (need_b) grads[1] = sum_to(grad_b(op, gy, va, vb, saved_y.get(name)), shape_b);
    return grads;
  });
}

/// Whether y must be read before x is written: it lies where x does, but not value by value.
bool is_in_the_way(const Tensor& y, const Tensor& x) {
  return overlap(y, x) && (y.raw_data() != x.raw_data() || y.shape() != x.shape());
}

/// x = op(x, y) where x lies.
Tensor& change(OpName what, Tensor& x, const Tensor& y) {
  const auto [op, name] = what;
  check(x.defined() && y.defined(), name, "expected two tensors; got an undefined one.");
  check_same_device(name, x, y);
  check(broadcast_shape(name, x.shape(), y.shape()) == x.shape(), name,
        "the result must have the shape of the tensor that is changed; got {} and {}.", x.shape(), y.shape());
  const auto kind = [](DType dtype) { return is_floating(dtype) ? DType::kFloat32 : dtype; };
  const DType wanted = op == BinaryOp::kDiv ? DType::kFloat32 : kind(y.dtype());
  check(wanted <= kind(x.dtype()), name,
        "a tensor of {} cannot hold a {} result. Write x = x op y, or convert the tensor with .to(\"{}\") before.",
        x.dtype(), wanted, wanted);
  check<std::runtime_error>(!grad_needed({&x, &y}), name,
                            "writing in place is not recorded, so a gradient would be lost. Write x = x op y, or do it "
                            "under no_grad().");
  if (x.dtype() == DType::kBool || is_16_bit(x) || y.dtype() > x.dtype()) return x.copy_(binary(what, x, y));
  Tensor right = y.to(x.dtype());
  if (is_in_the_way(right, x)) right = right.clone();
  run_into(op, x, right, x);
  x.impl()->storage->bump_version();
  return x;
}

/// A number as an operand: of x's dtype, but integers become float32 beside a number that is not one.
Tensor scalar_like(const Tensor& x, Scalar value) {
  check(x.defined(), "tensor", "an undefined tensor was used.");
  const DType own = is_16_bit(x) ? DType::kFloat32 : x.dtype();
  return full({}, value, {std::max({own, DType::kInt64, value.dtype()}), x.device()});
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) { return binary({BinaryOp::kAdd, "add"}, a, b); }
Tensor sub(const Tensor& a, const Tensor& b) { return binary({BinaryOp::kSub, "sub"}, a, b); }
Tensor mul(const Tensor& a, const Tensor& b) { return binary({BinaryOp::kMul, "mul"}, a, b); }
Tensor div(const Tensor& a, const Tensor& b) { return binary({BinaryOp::kDiv, "div"}, a, b); }
Tensor pow(const Tensor& a, const Tensor& b) {
  if (b.defined() && a.defined() && !is_floating(a.dtype()) && !is_floating(b.dtype()) && b.numel() > 0) {
    check(min(b.to(DType::kInt64)).item_int() >= 0, "pow",
          "integers have no negative integer powers. Convert with .to(\"float32\").");
  }
  return binary({BinaryOp::kPow, "pow"}, a, b);
}

Tensor& Tensor::add_(const Tensor& other) { return change({BinaryOp::kAdd, "add_"}, *this, other); }
Tensor& Tensor::sub_(const Tensor& other) { return change({BinaryOp::kSub, "sub_"}, *this, other); }
Tensor& Tensor::mul_(const Tensor& other) { return change({BinaryOp::kMul, "mul_"}, *this, other); }
Tensor& Tensor::div_(const Tensor& other) { return change({BinaryOp::kDiv, "div_"}, *this, other); }

Tensor add_relu(const Tensor& a, const Tensor& b) {
  constexpr const char* kOp = "add_relu";
  check_floating(kOp, a);
  check_factor(kOp, "both tensors", a, b);
  check(a.shape() == b.shape(), kOp, "expected two tensors of one shape; got {} and {}.", a.shape(), b.shape());
  if (is_16_bit(a) || is_16_bit(b)) return in_float32(promote_types(a.dtype(), b.dtype()), add_relu, a, b);
  Tensor y = run(BinaryOp::kAddRelu, a, b, a.shape());
  if (!grad_needed({&a, &b})) return y;
  return record(kOp, y, {&a, &b}, [saved_y = save(y)](const Tensor& gy) -> Gradients {
    const Tensor grad = relu_backward(gy, saved_y.get(kOp));
    return {grad, grad};
  });
}

Tensor with_number(BinaryFunction fn, const Tensor& x, const Tensor& number, bool reflected) {
  const auto apply = [&](const Tensor& values) { return reflected ? fn(number, values) : fn(values, number); };
  if (!is_16_bit(x)) return apply(x);
  const bool stays_wide = fn == static_cast<BinaryFunction>(pow);
  return in_float32(stays_wide ? wide_result(x) : x.dtype(), apply, x);
}

Tensor operator+(const Tensor& a, Scalar b) { return with_number(add, a, scalar_like(a, b)); }
Tensor operator-(const Tensor& a, Scalar b) { return with_number(sub, a, scalar_like(a, b)); }
Tensor operator*(const Tensor& a, Scalar b) { return with_number(mul, a, scalar_like(a, b)); }
Tensor operator/(const Tensor& a, Scalar b) { return with_number(div, a, scalar_like(a, b)); }
Tensor operator+(Scalar a, const Tensor& b) { return with_number(add, b, scalar_like(b, a), true); }
Tensor operator-(Scalar a, const Tensor& b) { return with_number(sub, b, scalar_like(b, a), true); }
Tensor operator*(Scalar a, const Tensor& b) { return with_number(mul, b, scalar_like(b, a), true); }
Tensor operator/(Scalar a, const Tensor& b) { return with_number(div, b, scalar_like(b, a), true); }

Tensor compare(Comparison comparison, const Tensor& a, const Tensor& b) {
  check(a.defined() && b.defined(), "compare", "expected two tensors; got an undefined one.");
  check_same_device("compare", a, b);
  const Shape shape = broadcast_shape("compare", a.shape(), b.shape());
  Tensor y = empty(shape, {DType::kBool, a.device()});
  if (y.numel() == 0) return y;
  DType dtype = std::max(promote_types(a.dtype(), b.dtype()), DType::kInt64);
  if (is_16_bit(dtype)) dtype = DType::kFloat32;
  const Tensor va = a.detach().to(dtype), vb = b.detach().to(dtype);
  const Broadcast g = make_broadcast(a.shape(), b.shape(), shape);
  const auto apply = [&](auto t) {
    using T = decltype(t);
    kernels<BinaryKernels<T>>(a.device()).compare(comparison, g, va.data<T>(), vb.data<T>(), y.data<bool>());
  };
  if (dtype == DType::kInt64) {
    apply(int64_t{});
  } else {
    dispatch_floating(dtype, apply);
  }
  return y;
}

Tensor accumulate(Tensor a, const Tensor& b) {
  if (!is_ours(a)) return add(a, b);
  if (a.numel() == 0) return a;
  if (is_16_bit(a)) {
    a.detach().copy_(add(a, b));
    return a;
  }
  dispatch_floating(a.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<BinaryKernels<T>>(a.device())
        .apply(BinaryOp::kAdd, make_broadcast(a.shape(), b.shape(), a.shape()), a.data<T>(), b.data<T>(), a.data<T>());
  });
  return a;
}

}  // namespace cnnx
