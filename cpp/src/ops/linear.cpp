// linear: y = x weight^T + bias over the last axis.
#include "ops/linear.h"

#include <cstring>

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "ops/product_gradient.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {

/// The factors are copied: either may change before anybody asks for the product.
template <class T>
Tensor product_of(const LinearGeometry& g, const Tensor& x, const Tensor& gy) {
  const auto product = make_product<T>(g.rows, g.in, g.out, gy.device());
  if (!gy.device().is_meta()) {
    std::memcpy(product->left.data(), gy.data<T>(), static_cast<size_t>(g.rows * g.out) * sizeof(T));
    std::memcpy(product->right.data(), x.data<T>(), static_cast<size_t>(g.rows * g.in) * sizeof(T));
  }
  return product_gradient<T>(product, {g.out, g.in});
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const char* op = "linear";
  check_floating(op, x);
  check(weight.defined() && weight.rank() == 2, op, "expected a weight of shape (out, in); got {}.",
        weight.defined() ? weight.shape() : Shape());
  check_factor(op, "weight", x, weight);
  check_factor(op, "bias", x, bias);
  if (const auto dtype = narrow_product(x)) return product_in_float32(*dtype, linear, x, weight, bias);
  const LinearGeometry g{x.rank() > 0 && x.size(-1) > 0 ? x.numel() / x.size(-1) : 0, weight.size(1), weight.size(0),
                         compute_precision(x)};
  check(x.rank() >= 1 && x.size(-1) == g.in, op, "expected {} input features (weight is {}); got input of shape {}.{}",
        g.in, weight.shape(), x.shape(), x.rank() == 4 ? " Flatten it first." : "");
  check(g.in > 0 && g.out > 0, op, "in and out features must be positive; got weight of shape {}.", weight.shape());
  check(!bias.defined() || bias.shape() == Shape{g.out}, op, "expected a bias of shape ({},); got {}.", g.out,
        bias.defined() ? bias.shape() : Shape());
  Shape shape = x.shape();
  shape[x.rank() - 1] = g.out;
  Tensor y = empty_like(x, shape);
  dispatch_floating(x.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<LinearKernels<T>>(x.device()).forward(g, x.data<T>(), weight.data<T>(), data_or_null<T>(bias), y.data<T>());
  });
  if (!grad_needed({&x, &weight, &bias})) return y;
  const bool need_x = x.requires_grad(), need_w = weight.requires_grad(), need_b = bias.requires_grad();
  return record(op, y, {&x, &weight, &bias},
                [=, x_shape = x.shape(), saved_x = need_w ? save(x) : Saved(),
                 saved_w = need_x ? save(weight) : Saved()](const Tensor& gy) {
                  Gradients grads(3);
                  dispatch_floating(gy.dtype(), [&](auto t) {
                    using T = decltype(t);
                    const LinearKernels<T>& k = kernels<LinearKernels<T>>(gy.device());
                    if (need_x) {
                      grads[0] = empty_like(gy, x_shape);
                      k.backward_input(g, gy.data<T>(), saved_w.get(op).template data<T>(), grads[0].data<T>());
                    }
                    if (need_w && stays_product(g.rows, g.in, g.out, gy.device())) {
                      grads[1] = product_of<T>(g, saved_x.get(op), gy);
                    } else if (need_w) {
                      grads[1] = empty_like(gy, {g.out, g.in});
                      if (g.rows == 0) grads[1].fill_(0);
                      k.backward_weight(g, saved_x.get(op).template data<T>(), gy.data<T>(), grads[1].data<T>());
                    }
                    if (need_b) {
                      grads[2] = empty_like(gy, {g.out});
                      k.backward_bias(g, gy.data<T>(), grads[2].data<T>());
                    }
                  });
                  return grads;
                });
}

}  // namespace cnnx
