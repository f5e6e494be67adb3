// Convolution, ReLU and 2x2 max pooling as one operation of the tape: the map between them is never written.
#include "autograd.h"
#include "kernels.h"
#include "ops/conv2d/hidden.h"
#include "ops/max_pool2d.h"
#include "ops/unary.h"
#include "tensor_impl.h"

namespace cnnx {
namespace {

/// An axis that pooling halves.
PoolAxis halved(int64_t length) { return {{.input = length, .kernel = 2, .stride = 2, .output = length / 2}}; }

}  // namespace

Tensor conv2d_relu_pooled(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& options) {
  constexpr const char* kOp = "conv2d";
  const auto conv = x.defined() ? find_hidden_conv(x, x.shape(), weight, bias, options) : std::nullopt;
  if (!conv || !conv->pools) return {};
  Conv2dGeometry g = conv->geometry;
  g.is_prepared = false;  // for the backward passes
  Tensor y = empty_like(x, {g.batch, g.out_channels, g.h.output / 2, g.w.output / 2});
  const auto switches = std::make_shared<Storage>(static_cast<size_t>(y.numel()), x.device());
  dispatch_floating(x.dtype(), [&](auto t) {
    using T = decltype(t);
    const BlockedPass pass{.pools = true, .switches = static_cast<uint8_t*>(switches->data())};
    run_hidden_conv<T>(*conv, pass, x.data<T>(), weight, bias, {.relu = true}, y.data<T>());
  });
  const auto needs = [](const Tensor& tensor) { return tensor.defined() && tensor.requires_grad(); };
  const bool need_x = needs(x), need_w = needs(weight), need_b = needs(bias);
  return record(
      kOp, y, {&x, &weight, &bias},
      [=, saved_x = need_w ? save(x) : Saved(), saved_w = need_x ? save(weight) : Saved(),
       saved_y = save(y)](const Tensor& gradient) {
        const Tensor pooled = relu_backward(gradient, saved_y.get(kOp));
        Gradients grads(3);
        if (need_b) {
          Conv2dGeometry halves = g;
          halves.h.output /= 2, halves.w.output /= 2;
          grads[2] = conv2d_backward_bias(halves, pooled);  // each of its values has one place in the map
        }
        const PoolGeometry pool{g.batch * g.out_channels, halved(g.h.output), halved(g.w.output)};
        Tensor gy = empty_like(pooled, {g.batch, g.out_channels, g.h.output, g.w.output});
        dispatch_floating(gy.dtype(), [&](auto t) {
          using T = decltype(t);
          kernels<MaxPool2dKernels<T>>(gy.device()).backward(pool, pooled.data<T>(), switches->data(), gy.data<T>());
        });
        if (need_x) grads[0] = conv2d_backward_input(g, gy, saved_w.get(kOp));
        if (need_w) grads[1] = conv2d_backward_weight(g, saved_x.get(kOp), gy);
        return grads;
      });
}

}  // namespace cnnx
