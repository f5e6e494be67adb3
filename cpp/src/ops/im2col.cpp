// im2col and col2im: the windows of images as columns of a matrix, and back. Each is the other's gradient.
#include "ops/im2col.h"

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {

Conv2dGeometry geometry(const char* op, int64_t batch, int64_t channels, Pair size, Pair kernel,
                        const WindowOptions& o) {
  const Window2d window = make_window2d(op, size.h, size.w, kernel, o.stride, o.dilation, o.padding, o.fit);
  return {batch, channels, 1, 1, window.h, window.w};
}

/// A shape with or without the batch axis in front.
Shape with_batch(bool batched, int64_t batch, std::initializer_list<int64_t> rest) {
  Shape shape;
  if (batched) shape.push_back(batch);
  for (const int64_t size : rest) shape.push_back(size);
  return shape;
}

/// The number of values of a shape, once it is known not to overflow.
int64_t product(const char* op, const Shape& shape) {
  check_numel(op, shape);
  return shape.numel();
}

Tensor to_columns(const Conv2dGeometry& g, const Tensor& x, const Shape& shape) {
  Tensor columns = empty_like(x, shape);
  dispatch_floating(x.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<Im2colKernels<T>>(x.device()).im2col(g, x.data<T>(), columns.data<T>());
  });
  return columns;
}

Tensor to_images(const Conv2dGeometry& g, const Tensor& columns, const Shape& shape) {
  Tensor x = empty_like(columns, shape);
  dispatch_floating(columns.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<Im2colKernels<T>>(columns.device()).col2im(g, columns.data<T>(), x.data<T>());
  });
  return x;
}

}  // namespace

Tensor im2col(const Tensor& x, Pair kernel_size, const WindowOptions& options) {
  constexpr const char* kOp = "im2col";
  check_floating(kOp, x);
  if (is_16_bit(x)) {
    return in_float32(x.dtype(), [&](const Tensor& wide) { return im2col(wide, kernel_size, options); }, x);
  }
  check(x.rank() == 4 || x.rank() == 3, kOp, "expected images of shape (N, C, H, W); got shape {}.", x.shape());
  const bool batched = x.rank() == 4;
  const Conv2dGeometry g =
      geometry(kOp, batched ? x.size(0) : 1, x.size(-3), {x.size(-2), x.size(-1)}, kernel_size, options);
  const int64_t rows = product(kOp, {g.in_channels, g.h.kernel, g.w.kernel});
  const Tensor y = to_columns(g, x, with_batch(batched, g.batch, {rows, product(kOp, {g.h.output, g.w.output})}));
  if (!grad_needed({&x})) return y;
  return record(kOp, y, {&x},
                [=, shape = x.shape()](const Tensor& gy) -> Gradients { return {to_images(g, gy, shape)}; });
}

Tensor col2im(const Tensor& columns, Pair output_size, Pair kernel_size, const WindowOptions& options) {
  constexpr const char* kOp = "col2im";
  check_floating(kOp, columns);
  if (is_16_bit(columns)) {
    return in_float32(
        columns.dtype(), [&](const Tensor& wide) { return col2im(wide, output_size, kernel_size, options); }, columns);
  }
  check(columns.rank() == 3 || columns.rank() == 2, kOp,
        "expected columns of shape (N, C * R * S, OH * OW); got shape {}.", columns.shape());
  check(output_size.h >= 1 && output_size.w >= 1, kOp, "output size must be at least 1; got {}.", output_size);
  const bool batched = columns.rank() == 3;
  Conv2dGeometry g = geometry(kOp, batched ? columns.size(0) : 1, 1, output_size, kernel_size, options);
  const int64_t taps = product(kOp, {g.h.kernel, g.w.kernel});
  check(columns.size(-2) % taps == 0, kOp, "the rows must be a multiple of the kernel's {} values; got shape {}.", taps,
        columns.shape());
  const int64_t positions = product(kOp, {g.h.output, g.w.output});
  check(columns.size(-1) == positions, kOp, "expected {} * {} = {} columns for output size {}; got shape {}.",
        g.h.output, g.w.output, positions, output_size, columns.shape());
  g.in_channels = columns.size(-2) / taps;
  const Tensor x = to_images(g, columns, with_batch(batched, g.batch, {g.in_channels, output_size.h, output_size.w}));
  if (!grad_needed({&columns})) return x;
  return record(kOp, x, {&columns},
                [=, shape = columns.shape()](const Tensor& gx) -> Gradients { return {to_columns(g, gx, shape)}; });
}

}  // namespace cnnx
