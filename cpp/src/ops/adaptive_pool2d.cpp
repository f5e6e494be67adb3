// Geometry of the pooling windows, and the adaptive pooling layers, which differ from the others in nothing else.
#include "ops/pool_window.h"

#include "check.h"

namespace cnnx {
namespace {

void check_images(const char* op, const Tensor& x) {
  check_floating(op, x);
  check(x.rank() == 4 || x.rank() == 3, op, "expected images of shape (N, C, H, W); got shape {}.", x.shape());
}

int64_t count_planes(const Tensor& x) { return x.rank() == 4 ? x.size(0) * x.size(1) : x.size(0); }

}  // namespace

PoolGeometry pool_geometry(const char* op, const Tensor& x, Pair kernel, std::optional<Pair> stride, Pair dilation,
                           const Padding& padding, Fit fit) {
  check_images(op, x);
  const Window2d window =
      make_window2d(op, x.size(-2), x.size(-1), kernel, stride.value_or(kernel), dilation, padding, fit);
  for (const WindowAxis* axis : {&window.h, &window.w}) {
    const int64_t most = std::max(axis->pad_before, axis->pad_after);
    check(2 * most <= axis->kernel, op, "padding must be at most half the kernel, {}; got {}.", axis->kernel / 2, most);
  }
  return {count_planes(x), {window.h}, {window.w}};
}

PoolGeometry adaptive_geometry(const char* op, const Tensor& x, Pair output_size) {
  check_images(op, x);
  check(output_size.h >= 1 && output_size.w >= 1, op, "output size must be at least 1; got {}.", output_size);
  check(x.size(-2) >= 1 && x.size(-1) >= 1, op, "expected images with pixels; got shape {}.", x.shape());
  const auto axis = [](int64_t input, int64_t output) {
    WindowAxis window;
    window.input = input;
    window.output = output;
    return PoolAxis{window, true};
  };
  return {count_planes(x), axis(x.size(-2), output_size.h), axis(x.size(-1), output_size.w)};
}

Shape pooled_shape(const PoolGeometry& g, const Shape& x) {
  Shape shape = x;
  shape[x.rank() - 2] = g.h.output();
  shape[x.rank() - 1] = g.w.output();
  return shape;
}

Tensor adaptive_avg_pool2d(const Tensor& x, Pair output_size) {
  constexpr const char* kOp = "adaptive_avg_pool2d";
  return average_windows(kOp, adaptive_geometry(kOp, x, output_size), true, x);
}

Tensor adaptive_max_pool2d(const Tensor& x, Pair output_size) {
  constexpr const char* kOp = "adaptive_max_pool2d";
  return max_windows(kOp, adaptive_geometry(kOp, x, output_size), x);
}

}  // namespace cnnx
