// Optimisers and the clipping of gradients.
#include "optimizer_class.h"

namespace cnnx::bindings {
namespace {

using namespace cnnx::optim;

template <class O>
auto bind_optimizer(py::module_& m, const char* name, const char* doc) {
  return py::class_<O, Optimizer>(m, name, doc);
}

}  // namespace

void bind_optim(py::module_& core) {
  py::module_ m = core.def_submodule("optim", "Optimizers.");
  bind_optimizer_base(m);
  bind_optimizer<SGD>(m, "SGD", R"(Stochastic gradient descent with momentum, as torch.optim.SGD.

Args:
    params: parameters, or dicts with "params" and options of their own.
    lr: learning rate.
    momentum: share of the last step's velocity that is kept.
    dampening: share of the gradient that does not enter the velocity.
    weight_decay: factor of the weights that is added to the gradient (L2 penalty).
    nesterov: look ahead by one step of momentum (Sutskever et al., 2013).

Raises:
    ValueError: for no parameters, ones that are not leaves, and options out of range.

Example:
    >>> import cnnx
    >>> w = cnnx.ones(1, requires_grad=True)
    >>> optimizer = cnnx.optim.SGD([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.item()
    0.0
)")
      .def(py::init([](const py::object& params, double lr, double momentum, double dampening, double weight_decay,
                       bool nesterov) {
             return std::make_unique<SGD>(groups_of(params),
                                          SGDOptions{lr, momentum, dampening, weight_decay, nesterov});
           }),
           py::arg("params"), py::arg("lr") = 1e-3, py::arg("momentum") = 0.0, py::arg("dampening") = 0.0,
           py::arg("weight_decay") = 0.0, py::arg("nesterov") = false);
  const auto bind_adam = [&]<class A>(std::type_identity<A>, const char* name, double weight_decay, const char* doc) {
    bind_optimizer<A>(m, name, doc)
        .def(py::init([](const py::object& params, double lr, std::pair<double, double> betas, double eps,
                         double decay) {
               return std::make_unique<A>(groups_of(params), AdamOptions{lr, betas.first, betas.second, eps, decay});
             }),
             py::arg("params"), py::arg("lr") = 1e-3, py::arg("betas") = std::pair(0.9, 0.999), py::arg("eps") = 1e-8,
             py::arg("weight_decay") = weight_decay);
  };
  bind_adam(std::type_identity<Adam>(), "Adam", 0.0, R"(Adam (Kingma and Ba, 2015), as torch.optim.Adam.

Args:
    params: parameters, or dicts with "params" and options of their own.
    lr: learning rate.
    betas: decay of the running mean of gradients and of their squares.
    eps: added to the root of the mean square.
    weight_decay: factor of the weights that is added to the gradient.

Raises:
    ValueError: for no parameters, ones that are not leaves, and options out of range.

Example:
    >>> import cnnx
    >>> w = cnnx.ones(1, requires_grad=True)
    >>> optimizer = cnnx.optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> 0.8 < w.item() < 1
    True
)");
  bind_adam(std::type_identity<AdamW>(), "AdamW", 0.01,
            R"(Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as torch.optim.AdamW.

Args:
    params: parameters, or dicts with "params" and options of their own.
    lr: learning rate.
    betas: decay of the running mean of gradients and of their squares.
    eps: added to the root of the mean square.
    weight_decay: the weights shrink by lr * weight_decay each step.

Raises:
    ValueError: for no parameters, ones that are not leaves, and options out of range.

Example:
    >>> import cnnx
    >>> w = cnnx.ones(1, requires_grad=True)
    >>> optimizer = cnnx.optim.AdamW([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> 0.8 < w.item() < 1
    True
)");
  bind_optimizer<RMSprop>(
      m, "RMSprop",
      R"(The gradient over the root of its running mean square (Hinton, lecture 6e), as torch.optim.RMSprop.

Args:
    params: parameters, or dicts with "params" and options of their own.
    lr: learning rate.
    alpha: decay of the mean square.
    eps: added to its root.
    weight_decay: factor of the weights that is added to the gradient.
    momentum: share of the last step that is kept.
    centered: use the variance in place of the mean square.

Raises:
    ValueError: for no parameters, ones that are not leaves, and options out of range.

Example:
    >>> import cnnx
    >>> w = cnnx.ones(1, requires_grad=True)
    >>> optimizer = cnnx.optim.RMSprop([w], lr=0.01)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> 0.8 < w.item() < 1
    True
)")
      .def(py::init([](const py::object& params, double lr, double alpha, double eps, double weight_decay,
                       double momentum, bool centered) {
             return std::make_unique<RMSprop>(groups_of(params),
                                              RMSpropOptions{lr, alpha, eps, weight_decay, momentum, centered});
           }),
           py::arg("params"), py::arg("lr") = 1e-2, py::arg("alpha") = 0.99, py::arg("eps") = 1e-8,
           py::arg("weight_decay") = 0.0, py::arg("momentum") = 0.0, py::arg("centered") = false);
  bind_optimizer<Adagrad>(
      m, "Adagrad", R"(Steps that shrink with the sum of squared gradients (Duchi et al., 2011), as torch.optim.Adagrad.

Args:
    params: parameters, or dicts with "params" and options of their own.
    lr: learning rate.
    lr_decay: lr is divided by 1 + lr_decay * (steps so far).
    weight_decay: factor of the weights that is added to the gradient.
    eps: added to the root of the sum.

Raises:
    ValueError: for no parameters, ones that are not leaves, and options out of range.

Example:
    >>> import cnnx
    >>> w = cnnx.ones(1, requires_grad=True)
    >>> optimizer = cnnx.optim.Adagrad([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> 0.8 < w.item() < 1
    True
)")
      .def(py::init([](const py::object& params, double lr, double lr_decay, double weight_decay, double eps) {
             return std::make_unique<Adagrad>(groups_of(params), AdagradOptions{lr, lr_decay, weight_decay, eps});
           }),
           py::arg("params"), py::arg("lr") = 1e-2, py::arg("lr_decay") = 0.0, py::arg("weight_decay") = 0.0,
           py::arg("eps") = 1e-10);
  m.def(
      "clip_grad_norm",
      [](const py::object& params, double max_norm, double norm_type) {
        std::vector<Tensor> tensors;
        if (py::isinstance<Tensor>(params)) {
          tensors.push_back(params.cast<Tensor>());
        } else {
          for (const py::handle param : params) tensors.push_back(param.cast<Tensor>());
        }
        const GilRelease nogil;
        return clip_grad_norm(tensors, max_norm, norm_type);
      },
      py::arg("parameters"), py::arg("max_norm"), py::arg("norm_type") = 2.0,
      R"(Scales all gradients in place so that their joint norm is at most max_norm.

Args:
    parameters: tensors with gradients (those without are left out), or one.
    max_norm: the largest norm to allow.
    norm_type: p of the norm (sum |g|^p)^(1/p); infinity for the largest absolute value.

Returns:
    The norm before: a float64 tensor of one number where the gradients are, so that nothing waits for it.

Raises:
    ValueError: for a negative max_norm, a norm_type that is not positive, or gradients on several devices.

Example:
    >>> import cnnx
    >>> w = cnnx.tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> cnnx.optim.clip_grad_norm([w], 1.0).item()
    10.0
)");
  m.def(
      "_unscale",
      [](Optimizer& optimizer, double factor) {
        const auto locked = lock(optimizer);
        const GilRelease nogil;
        std::vector<Tensor> params;
        for (const ParamGroup& group : optimizer.param_groups()) {
          params.insert(params.end(), group.params.begin(), group.params.end());
        }
        return unscale_gradients(params, factor);
      },
      py::arg("optimizer"), py::arg("factor"));
}

}  // namespace cnnx::bindings
