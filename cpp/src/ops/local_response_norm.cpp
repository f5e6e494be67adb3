// Local response normalization: each value over a power of its neighbouring channels' mean square.
#include "ops/local_response_norm.h"

#include <cmath>

#include "autograd.h"
#include "check.h"
#include "kernels.h"
#include "parallel.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {

/// Calls fn(geometry, kernels, workspace).
template <class T, class F>
void with_kernels(LrnGeometry g, Device device, F&& fn) {
  g.threads = region_threads();
  const auto& k = kernels<LrnKernels<T>>(device);
  const Workspace workspace(static_cast<size_t>(k.workspace_bytes(g)), device);
  fn(g, k, workspace.data());
}

}  // namespace

Tensor local_response_norm(const Tensor& x, int64_t size, const LocalResponseNormOptions& options) {
  constexpr const char* kOp = "local_response_norm";
  check_floating(kOp, x);
  check(x.rank() >= 3, kOp, "expected an input of shape (N, C, ...); got shape {}.", x.shape());
  check(size >= 1, kOp, "size must be at least 1; got {}.", size);
  check(std::isfinite(options.alpha) && options.alpha >= 0, kOp, "alpha must be finite and not negative; got {}.",
        options.alpha);
  check(std::isfinite(options.beta), kOp, "beta must be finite; got {}.", options.beta);
  check(std::isfinite(options.k) && options.k > 0, kOp, "k must be finite and positive; got {}.", options.k);
  LrnGeometry g{x.size(0), x.size(1), 1, size, options.alpha, options.beta, options.k};
  for (int axis = 2; axis < x.rank(); ++axis) g.plane *= x.size(axis);
  if (is_16_bit(x)) {
    return in_float32(x.dtype(), [&](const Tensor& wide) { return local_response_norm(wide, size, options); }, x);
  }
  Tensor y = empty_like(x);
  dispatch_floating(x.dtype(), [&](auto t) {
    using T = decltype(t);
    with_kernels<T>(g, x.device(), [&](const LrnGeometry& run, const auto& k, void* workspace) {
      k.forward(run, x.data<T>(), y.data<T>(), workspace);
    });
  });
  if (!grad_needed({&x})) return y;
  return record(kOp, y, {&x}, [=, saved_x = save(x)](const Tensor& gy) -> Gradients {
    const Tensor vx = saved_x.get(kOp);
    Tensor gx = empty_like(vx);
    dispatch_floating(gy.dtype(), [&](auto t) {
      using T = decltype(t);
      with_kernels<T>(g, gy.device(), [&](const LrnGeometry& run, const auto& k, void* workspace) {
        k.backward(run, vx.data<T>(), gy.data<T>(), gx.data<T>(), workspace);
      });
    });
    return {gx};
  });
}

}  // namespace cnnx
