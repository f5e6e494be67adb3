// matmul as NumPy's @: matrices, vectors, and batches of matrices with broadcasting.
#include "ops/matmul.h"

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "ops/broadcast.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {

Shape batch_of(const Shape& shape) { return Shape(std::span(shape.begin(), shape.end() - 2)); }

Shape joined(Shape batch, int64_t rows, int64_t columns) {
  batch.push_back(rows);
  batch.push_back(columns);
  return batch;
}

/// x repeated to the batch axes `batch`.
Tensor expanded(const Tensor& x, const Shape& batch) {
  if (batch_of(x.shape()) == batch) return x;
  return x + zeros(joined(batch, 1, 1), {x.dtype(), x.device()});
}

/// op(a) op(b) for operands of two or more axes, without a record.
Tensor product(const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b, Precision precision) {
  const Shape batch = broadcast_shape("matmul", batch_of(a.shape()), batch_of(b.shape()));
  const bool repeat_a = batch_of(a.shape()).numel() == 1, repeat_b = batch_of(b.shape()).numel() == 1;
  const Tensor va = repeat_a ? a : expanded(a, batch), vb = repeat_b ? b : expanded(b, batch);
  MatmulGeometry g;
  g.batch = batch.numel();
  g.m = a.size(transpose_a ? -1 : -2);
  g.k = a.size(transpose_a ? -2 : -1);
  g.n = b.size(transpose_b ? -2 : -1);
  g.transpose_a = transpose_a;
  g.transpose_b = transpose_b;
  g.stride_a = repeat_a ? 0 : g.m * g.k;
  g.stride_b = repeat_b ? 0 : g.k * g.n;
  g.precision = precision;
  if (!transpose_a && repeat_b && !repeat_a) {  // one tall product
    g.m *= g.batch;
    g.batch = 1;
  }
  const Shape shape = joined(batch, a.size(transpose_a ? -1 : -2), g.n);
  if (shape.numel() == 0 || g.k == 0) return zeros(shape, {a.dtype(), a.device()});
  Tensor y = empty_like(a, shape);
  dispatch_floating(a.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<MatmulKernels<T>>(a.device()).forward(g, va.data<T>(), vb.data<T>(), y.data<T>());
  });
  return y;
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  const char* op = "matmul";
  check_floating(op, a);
  check(b.defined(), op, "expected two tensors; got an undefined one.");
  check_factor(op, "both operands", a, b);
  if (const auto dtype = narrow_product(a)) return product_in_float32(*dtype, matmul, a, b);
  check(a.rank() > 0 && b.rank() > 0, op, "operands need at least one axis; got shapes {} and {}. Use * for numbers.",
        a.shape(), b.shape());
  if (a.rank() == 1) return matmul(a.unsqueeze(0), b).squeeze(b.rank() == 1 ? 0 : -2);
  if (b.rank() == 1) return matmul(a, b.unsqueeze(1)).squeeze(-1);
  check(a.size(-1) == b.size(-2), op, "inner lengths must agree; got shapes {} and {}.", a.shape(), b.shape());
  const Precision precision = compute_precision(a);
  Tensor y = product(a, false, b, false, precision);
  if (!grad_needed({&a, &b})) return y;
  const bool need_a = a.requires_grad(), need_b = b.requires_grad();
  return record(op, y, {&a, &b},
                [=, shape_a = a.shape(), shape_b = b.shape(), saved_a = need_b ? save(a) : Saved(),
                 saved_b = need_a ? save(b) : Saved()](const Tensor& gy) {
                  Gradients grads(2);
                  if (need_a) grads[0] = sum_to(product(gy, false, saved_b.get(op), true, precision), shape_a);
                  if (need_b) grads[1] = sum_to(product(saved_a.get(op), true, gy, false, precision), shape_b);
                  return grads;
                });
}

}  // namespace cnnx
