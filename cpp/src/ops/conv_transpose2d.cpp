// conv_transpose2d: the data gradient of a convolution as a layer. Its geometry is that of the convolution from its
// output back to its input, whose backward_input it calls; its gradients are that convolution's forward pass and weight
// gradient.
#include "autograd.h"
#include "check.h"
#include "ops/broadcast.h"
#include "ops/conv2d/conv2d.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {

constexpr const char* kOp = "conv_transpose2d";
constexpr int64_t kLargest = int64_t{1} << 31;  // of each number, so that sums of products stay far from overflow

/// One axis of that convolution, `output` of which is the length here. The layer's output is the axis's input.
WindowAxis transposed_axis(const char* name, WindowAxis axis, int64_t output_padding) {
  check(axis.kernel >= 1 && axis.stride >= 1 && axis.dilation >= 1, kOp,
        "kernel size, stride and dilation must be at least 1; got {}, {} and {} for the {}.", axis.kernel, axis.stride,
        axis.dilation, name);
  check(axis.pad_before >= 0 && axis.pad_after >= 0 && output_padding >= 0, kOp,
        "padding and output_padding must not be negative; got ({}, {}) and {} for the {}.", axis.pad_before,
        axis.pad_after, output_padding, name);
  check(
      std::max({axis.output, axis.kernel, axis.stride, axis.dilation, axis.pad_before, axis.pad_after}) < kLargest, kOp,
      "lengths, kernel size, stride, dilation and padding must be below 2^31; got {}, {}, {}, {}, ({}, {}) for the {}.",
      axis.output, axis.kernel, axis.stride, axis.dilation, axis.pad_before, axis.pad_after, name);
  check(output_padding < std::max(axis.stride, axis.dilation), kOp,
        "output_padding must be smaller than stride or dilation; got {}, {} and {} for the {}.", output_padding,
        axis.stride, axis.dilation, name);
  check(axis.output >= 1, kOp, "expected images with pixels; got a {} of 0.", name);
  axis.input = (axis.output - 1) * axis.stride - axis.pad_before - axis.pad_after + axis.extent() + output_padding;
  check(axis.input >= 1, kOp, "the output's {} would be ({} - 1) * {} - {} + {} + {} = {}. Use less padding.", name,
        axis.output, axis.stride, axis.pad_before + axis.pad_after, axis.extent(), output_padding, axis.input);
  return axis;
}

Conv2dGeometry geometry(const Shape& x, const Shape& weight, const ConvTransposeOptions& o) {
  check(x.rank() == 4, kOp, "expected an input of shape (N, C, H, W); got shape {}.{}", x,
        x.rank() == 3 ? " Add a batch axis with unsqueeze(0)." : "");
  check(weight.rank() == 4, kOp, "expected a weight of shape (C, K / groups, R, S); got shape {}.", weight);
  check(o.groups >= 1, kOp, "groups must be at least 1; got {}.", o.groups);
  check(weight[0] % o.groups == 0 && weight[0] > 0 && weight[1] > 0, kOp,
        "in channels must be a positive multiple of groups; got weight {} and groups {}.", weight, o.groups);
  check(x[1] == weight[0], kOp, "expected {} input channels (weight is {}); got input of shape {}.", weight[0], weight,
        x);
  check(!o.padding.is_same, kOp, "padding=\"same\" has no meaning here. Give the padding as a number.");
  check(weight[1] < kLargest && o.groups < kLargest, kOp, "channels and groups must be below 2^31.");
  const Padding& p = o.padding;
  return {
      x[0],
      weight[1] * o.groups,
      weight[0],
      o.groups,
      transposed_axis("height", {0, weight[2], o.stride.h, o.dilation.h, p.top, p.bottom, x[2]}, o.output_padding.h),
      transposed_axis("width", {0, weight[3], o.stride.w, o.dilation.w, p.left, p.right, x[3]}, o.output_padding.w)};
}

}  // namespace

Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const ConvTransposeOptions& options) {
  check_floating(kOp, x);
  check(weight.defined(), kOp, "expected a weight tensor; got none.");
  check_factor(kOp, "weight", x, weight);
  check_factor(kOp, "bias", x, bias);
  if (const auto dtype = narrow_product(x)) {
    const auto fn = [&](const Tensor& wide_x, const Tensor& wide_weight, const Tensor& wide_bias) {
      return conv_transpose2d(wide_x, wide_weight, wide_bias, options);
    };
    return product_in_float32(*dtype, fn, x, weight, bias);
  }
  Conv2dGeometry g = geometry(x.shape(), weight.shape(), options);
  g.precision = compute_precision(x);
  check(!bias.defined() || bias.shape() == Shape{g.in_channels}, kOp, "expected a bias of shape ({},); got {}.",
        g.in_channels, bias.defined() ? bias.shape() : Shape());
  check_numel(kOp, {g.batch, g.in_channels, g.h.input, g.w.input});
  Tensor y = conv2d_backward_input(g, x, weight);
  const Shape column{g.in_channels, 1, 1};
  if (bias.defined()) y = accumulate(std::move(y), bias.detach().reshape(column));
  if (!grad_needed({&x, &weight, &bias})) return y;
  const bool need_x = x.requires_grad(), need_w = weight.requires_grad(), need_b = bias.requires_grad();
  return record(kOp, y, {&x, &weight, &bias},
                [=, saved_x = need_w ? save(x) : Saved(), saved_w = need_x ? save(weight) : Saved()](const Tensor& gy) {
                  Gradients grads(3);
                  if (need_x) grads[0] = conv2d_forward(g, gy, saved_w.get(kOp), {});
                  if (need_w) grads[1] = conv2d_backward_weight(g, gy, saved_x.get(kOp));
                  if (need_b) grads[2] = sum_to(gy, column).reshape({g.in_channels});
                  return grads;
                });
}

}  // namespace cnnx
