// Optimisers: bookkeeping of groups and state, and the rules of their steps. A step cuts all parameters into pieces and
// updates them in one parallel loop; parameters of different dtypes take one loop each (optimizer_step.h).
#include "cnnx/optim.h"

#include <cmath>
#include <set>

#include "autograd.h"
#include "ops/optimizer_step.h"

namespace cnnx::optim {
namespace {

std::vector<ParamGroup> one_group(std::vector<Tensor> params) {
  std::vector<ParamGroup> groups;
  groups.push_back({std::move(params), {}});
  return groups;
}

}  // namespace

// ---- Bookkeeping

void ParamGroup::check_options(const char* op) const {
  for (const auto& [option, value] : options) {
    check(std::isfinite(value), op, "{} must be finite; got {}.", option, value);
    check(value >= 0, op, "{} must not be negative; got {}.", option, value);
    check(!option.starts_with("beta") || value < 1, op, "{} must lie in [0, 1); got {}.", option, value);
  }
  const auto nesterov = options.find("nesterov");
  if (nesterov == options.end() || nesterov->second == 0) return;
  const double momentum = options.at("momentum"), dampening = options.at("dampening");
  check(momentum > 0 && dampening == 0, op,
        "nesterov needs momentum and no dampening; got momentum {} and dampening {}.", momentum, dampening);
}

Optimizer::Optimizer(const char* name, std::vector<ParamGroup> groups, const Options& defaults)
    : name_(name), defaults_(defaults) {
  for (ParamGroup& group : groups) add_param_group(std::move(group));
  check(!state_.empty(), name_, "expected at least one parameter; got none.");
}

Optimizer::~Optimizer() = default;

void Optimizer::add_param_group(ParamGroup group) {
  std::set<const TensorImpl*> known;
  for (const ParamGroup& other : groups_) {
    for (const Tensor& param : other.params) known.insert(param.impl().get());
  }
  for (const Tensor& param : group.params) {
    check_floating(name_, param);
    check(param.is_leaf(), name_,
          "parameters must be leaves; got a tensor that an operation computed. Pass detach().requires_grad_().");
    check(known.insert(param.impl().get()).second, name_, "a parameter appears twice.");
  }
  for (const auto& [option, value] : group.options) {
    check(defaults_.count(option) > 0, name_, "unknown option \"{}\".", option);
  }
  group.options.insert(defaults_.begin(), defaults_.end());
  group.check_options(name_);
  state_.resize(state_.size() + group.params.size());
  groups_.push_back(std::move(group));
}

void Optimizer::set_state(std::vector<State> state) {
  check(state.size() == state_.size(), name_, "expected the state of {} parameters; got {}.", state_.size(),
        state.size());
  size_t i = 0;
  for (const ParamGroup& group : groups_) {
    for (const Tensor& param : group.params) {
      for (auto& [name, tensor] : state[i]) {
        if (name == "step") {
          check(tensor.defined() && tensor.numel() == 1, name_, "the state \"step\" must be one number.");
          tensor = full({}, tensor.item(), {DType::kInt64});
          continue;
        }
        check(tensor.defined() && tensor.shape() == param.shape(), name_,
              "the state \"{}\" of parameter {} must have its shape {}; got {}.", name, i, param.shape(),
              tensor.defined() ? tensor.shape() : Shape());
        tensor = tensor.detach().to(state_dtype(param)).to(param.device()).clone();
      }
      ++i;
    }
  }
  state_ = std::move(state);
}

void Optimizer::zero_grad(bool set_to_none) {
  for (ParamGroup& group : groups_) {
    for (Tensor& param : group.params) cnnx::zero_grad(param, set_to_none);
  }
}

double Optimizer::lr() const { return groups_.front().options.at("lr"); }

void Optimizer::set_lr(double lr) {
  ParamGroup{{}, {{"lr", lr}}}.check_options(name_);
  for (ParamGroup& group : groups_) group.options["lr"] = lr;
}

// ---- Steps

SGD::SGD(std::vector<Tensor> params, const SGDOptions& options) : SGD(one_group(std::move(params)), options) {}
SGD::SGD(std::vector<ParamGroup> groups, const SGDOptions& o)
    : Optimizer("SGD", std::move(groups),
                {{"lr", o.lr},
                 {"momentum", o.momentum},
                 {"dampening", o.dampening},
                 {"weight_decay", o.weight_decay},
                 {"nesterov", o.nesterov}}) {}

void SGD::step() {
  run_step(
      Method<SGDRule>{"SGD", false,
                      [](const Options& o) { return BufferNames{o.at("momentum") != 0 ? "momentum_buffer" : nullptr}; },
                      [](const Options& o, double, bool is_first) {
                        return SGDRule{o.at("lr"),           o.at("momentum"),      o.at("dampening"),
                                       o.at("weight_decay"), o.at("nesterov") != 0, is_first};
                      }},
      *this, [](const auto& k) { return k.sgd; });
}

Adam::Adam(std::vector<Tensor> params, const AdamOptions& options) : Adam(one_group(std::move(params)), options) {}
Adam::Adam(std::vector<ParamGroup> groups, const AdamOptions& options)
    : Adam("Adam", std::move(groups), options, false) {}
Adam::Adam(const char* name, std::vector<ParamGroup> groups, const AdamOptions& o, bool decoupled_weight_decay)
    : Optimizer(
          name, std::move(groups),
          {{"lr", o.lr}, {"beta1", o.beta1}, {"beta2", o.beta2}, {"eps", o.eps}, {"weight_decay", o.weight_decay}}),
      decoupled_weight_decay_(decoupled_weight_decay) {}

void Adam::step() {
  run_step(Method<AdamRule>{"Adam", true, [](const Options&) { return BufferNames{"exp_avg", "exp_avg_sq"}; },
                            [decoupled = decoupled_weight_decay_](const Options& o, double step, bool) {
                              const double beta1 = o.at("beta1"), beta2 = o.at("beta2");
                              return AdamRule{o.at("lr"),
                                              beta1,
                                              beta2,
                                              o.at("eps"),
                                              o.at("weight_decay"),
                                              decoupled,
                                              1 - std::pow(beta1, step),
                                              1 - std::pow(beta2, step)};
                            }},
           *this, [](const auto& k) { return k.adam; });
}

AdamW::AdamW(std::vector<Tensor> params, const AdamOptions& options) : AdamW(one_group(std::move(params)), options) {}
AdamW::AdamW(std::vector<ParamGroup> groups, const AdamOptions& options)
    : Adam("AdamW", std::move(groups), options, true) {}

RMSprop::RMSprop(std::vector<Tensor> params, const RMSpropOptions& options)
    : RMSprop(one_group(std::move(params)), options) {}
RMSprop::RMSprop(std::vector<ParamGroup> groups, const RMSpropOptions& o)
    : Optimizer("RMSprop", std::move(groups),
                {{"lr", o.lr},
                 {"alpha", o.alpha},
                 {"eps", o.eps},
                 {"weight_decay", o.weight_decay},
                 {"momentum", o.momentum},
                 {"centered", o.centered}}) {}

void RMSprop::step() {
  run_step(Method<RMSpropRule>{"RMSprop", true,
                               [](const Options& o) {
                                 return BufferNames{"square_avg", o.at("momentum") != 0 ? "momentum_buffer" : nullptr,
                                                    o.at("centered") != 0 ? "grad_avg" : nullptr};
                               },
                               [](const Options& o, double, bool) {
                                 return RMSpropRule{o.at("lr"),           o.at("alpha"),    o.at("eps"),
                                                    o.at("weight_decay"), o.at("momentum"), o.at("centered") != 0};
                               }},
           *this, [](const auto& k) { return k.rmsprop; });
}

Adagrad::Adagrad(std::vector<Tensor> params, const AdagradOptions& options)
    : Adagrad(one_group(std::move(params)), options) {}
Adagrad::Adagrad(std::vector<ParamGroup> groups, const AdagradOptions& o)
    : Optimizer("Adagrad", std::move(groups),
                {{"lr", o.lr}, {"lr_decay", o.lr_decay}, {"weight_decay", o.weight_decay}, {"eps", o.eps}}) {}

void Adagrad::step() {
  run_step(Method<AdagradRule>{"Adagrad", true, [](const Options&) { return BufferNames{"sum"}; },
                               [](const Options& o, double step, bool) {
                                 return AdagradRule{o.at("lr") / (1 + (step - 1) * o.at("lr_decay")), o.at("eps"),
                                                    o.at("weight_decay")};
                               }},
           *this, [](const auto& k) { return k.adagrad; });
}

// ---- Gradients

namespace {

/// Those of the parameters that have one, on one device.
std::vector<Tensor> gradients_of(const char* op, std::span<const Tensor> params) {
  std::vector<Tensor> grads;
  for (const Tensor& param : params) {
    if (const Tensor grad = param.grad(); grad.defined()) grads.push_back(grad);
  }
  for (const Tensor& grad : grads) check_same_device(op, grads.front(), grad);
  return grads;
}

/// (sum |g|^p)^(1/p) over all gradients, or the largest |g|.
Tensor norm_of(std::span<const Tensor> grads, double p) {
  std::vector<Tensor> parts{zeros({1}, {DType::kFloat64, grads.front().device()})};
  for (const Tensor& grad : grads) {
    if (grad.numel() == 0) continue;
    const Tensor sizes = abs(grad.to(DType::kFloat64));
    parts.push_back(
        (std::isinf(p) ? max(sizes) : sum(pow(sizes, full({}, p, {DType::kFloat64, grad.device()})))).reshape({1}));
  }
  const Tensor all = concat(parts);
  return std::isinf(p) ? max(all) : pow(sum(all), full({}, 1 / p, {DType::kFloat64, all.device()}));
}

/// The squares of the gradients' 2-norms, one by one, or that of their norm of another type.
Tensor squared_norms(std::span<const Tensor> grads, double p) {
  const Device device = grads.front().device();
  if (p != 2) {
    const Tensor norm = norm_of(grads, p).reshape({1});
    return norm * norm;
  }
  Tensor sums = empty({static_cast<int64_t>(grads.size())}, {DType::kFloat64, device});
  double* sum = sums.data<double>();
  for (const Tensor& given : grads) {
    const Tensor grad = given.to(state_dtype(given));
    dispatch_floating(grad.dtype(), [&](auto t) {
      using T = decltype(t);
      kernels<OptimizerKernels<T>>(device).square_sum(grad.numel(), grad.data<T>(), sum++);
    });
  }
  return sums;
}

}  // namespace

Tensor clip_grad_norm(std::span<const Tensor> params, double max_norm, double norm_type) {
  constexpr const char* kOp = "clip_grad_norm";
  check(max_norm >= 0, kOp, "max_norm must not be negative; got {}.", max_norm);
  check(norm_type > 0, kOp, "norm_type must be positive; got {}.", norm_type);
  std::vector<Tensor> grads = gradients_of(kOp, params);
  if (grads.empty()) return zeros({}, {DType::kFloat64});
  const Device device = grads.front().device();
  const Tensor sums = squared_norms(grads, norm_type);
  Tensor norm = empty({}, {DType::kFloat64, device}), factor = empty({}, {DType::kFloat64, device});
  kernels<OptimizerKernels<float>>(device).clip_factor(sums.numel(), sums.data<double>(), max_norm, norm.data<double>(),
                                                       factor.data<double>());
  for (Tensor& grad : grads) {
    change_in_float32(grad, [&](Tensor& values) {
      dispatch_floating(values.dtype(), [&](auto t) {
        using T = decltype(t);
        kernels<OptimizerKernels<T>>(device).shrink(values.numel(), factor.data<double>(), values.data<T>());
      });
    });
    grad.impl()->storage->bump_version();
  }
  return norm;
}

bool unscale_gradients(std::span<const Tensor> params, double factor) {
  constexpr const char* kOp = "GradScaler";
  std::vector<Tensor> grads = gradients_of(kOp, params);
  check<std::runtime_error>(!grads.empty(), kOp,
                            "no parameter of the optimizer has a gradient. Call backward() first.");
  const Device device = grads.front().device();
  Tensor found = zeros({}, {DType::kInt64, device});
  std::vector<Tensor> values;  // the gradients, or copies in float32
  for (const Tensor& grad : grads) values.push_back(grad.to(state_dtype(grad)));
  const auto run = [&](auto t) {
    using T = decltype(t);
    std::vector<GradientRun<T>> runs;
    for (Tensor& grad : values) {
      if (grad.dtype() != dtype_of<T>()) continue;
      runs.push_back({grad.data<T>(), grad.numel()});
      grad.impl()->storage->bump_version();
    }
    kernels<OptimizerKernels<T>>(device).unscale(runs, static_cast<T>(factor), found.data<int64_t>());
  };
  run(float{});
  run(double{});
  for (size_t i = 0; i < grads.size(); ++i) {
    if (is_16_bit(grads[i])) grads[i].copy_(values[i]);
  }
  return found.item() != 0;
}

}  // namespace cnnx::optim
