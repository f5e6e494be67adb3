// Optimisers: bookkeeping of groups and state, and the steps. A step cuts all parameters into pieces and updates them
// in one parallel region; parameters of different dtypes take one region each.
#include "ops/optimizer.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "check.h"
#include "cnnx/optim.h"
#include "kernels.h"
#include "tensor_impl.h"

namespace cnnx::optim {
namespace {

using Options = std::map<std::string, double>;
using State = Optimizer::State;

constexpr int64_t kPiece = 16384;

std::vector<ParamGroup> one_group(std::vector<Tensor> params) {
  std::vector<ParamGroup> groups;
  groups.push_back({std::move(params), {}});
  return groups;
}

/// One more than the steps that this parameter has seen, and counted.
double count_step(State& state) {
  Tensor& step = state["step"];
  if (!step.defined()) step = zeros({}, {DType::kInt64});
  step.impl()->storage->bump_version();
  return static_cast<double>(++*step.data<int64_t>());
}

Tensor& buffer(State& state, const char* name, const Tensor& param) {
  Tensor& tensor = state[name];
  if (!tensor.defined()) tensor = zeros_like(param);
  check(tensor.shape() == param.shape() && tensor.dtype() == param.dtype(), "optimizer",
        "a parameter of shape {} and dtype {} has state \"{}\" of shape {} and dtype {}. Make a new optimizer for a "
        "changed model.",
        param.shape(), param.dtype(), name, tensor.shape(), tensor.dtype());
  return tensor;
}

/// What a step works on, and the memory that must outlive it whatever other threads assign meanwhile.
template <class T, class Rule>
struct Work {
  std::vector<Piece<T, Rule>> pieces;
  std::vector<std::shared_ptr<Storage>> memory;
  std::vector<std::shared_ptr<const MatrixProduct>> products;
};

/// Cuts a gradient of n values into pieces and calls fn(offset, piece) for each.
template <class T, class Rule, class F>
void cut_gradient(const Tensor& grad, const MatrixProduct* product, F&& fn) {
  if (!product) {
    const int64_t n = grad.numel();
    const T* const g = grad.data<T>();
    for (int64_t at = 0; at < n; at += kPiece) {
      fn(at, Piece<T, Rule>{nullptr, g + at, {}, {}, std::min(kPiece, n - at), {}});
    }
    return;
  }
  const T *left = static_cast<const T*>(product->left.data()), *right = static_cast<const T*>(product->right.data());
  for (int64_t o = 0; o < product->out; ++o) {
    for (int64_t i = 0; i < product->in; i += kProductPiece) {
      const ProductRow<T> row{left + o, right + i, product->rows, product->out, product->in};
      fn(o * product->in + i, Piece<T, Rule>{nullptr, nullptr, row, {}, std::min(kProductPiece, product->in - i), {}});
    }
  }
}

/// Calls rule(options, state, param, buffers) for every parameter with a gradient of dtype T: it returns the update
/// rule and sets the state tensors that the update needs.
template <class T, class Rule, class MakeRule>
Work<T, Rule> make_work(const char* op, std::deque<ParamGroup>& groups, std::vector<State>& states,
                        MakeRule make_rule) {
  Work<T, Rule> work;
  auto state = states.begin();
  for (ParamGroup& group : groups) {
    for (Tensor& param : group.params) {
      State& mine = *state++;
      const Tensor grad = param.grad();
      if (param.dtype() != dtype_of<T>() || !grad.defined()) continue;
      check_like(op, "a gradient", param, grad);
      check(grad.shape() == param.shape(), op, "expected a gradient of the parameter's shape {}; got {}.",
            param.shape(), grad.shape());
      std::array<Tensor, 3> buffers;
      const Rule rule = make_rule(group.options, mine, param, buffers);
      work.memory.insert(work.memory.end(), {param.impl()->storage, grad.impl()->storage});
      for (const Tensor& tensor : buffers) {
        if (tensor.defined()) work.memory.push_back(tensor.impl()->storage);
      }
      param.impl()->storage->bump_version();
      const auto product = grad.impl()->storage->product();
      if (product) work.products.push_back(product);
      T* const w = param.data<T>();
      const std::array<T*, 3> state_values{data_or_null<T>(buffers[0]), data_or_null<T>(buffers[1]),
                                           data_or_null<T>(buffers[2])};
      cut_gradient<T, Rule>(grad, product.get(), [&](int64_t at, Piece<T, Rule> piece) {
        piece.w = w + at;
        for (size_t i = 0; i < 3; ++i) piece.state[i] = state_values[i] ? state_values[i] + at : nullptr;
        piece.rule = rule;
        work.pieces.push_back(piece);
      });
    }
  }
  return work;
}

/// Runs the kernel that `select` picks from the table, for the parameters of each dtype.
template <class Rule, class Select, class MakeRule>
void run_step(const char* op, std::deque<ParamGroup>& groups, std::vector<State>& states, Select select,
              MakeRule make_rule) {
  const auto run = [&](auto t) {
    using T = decltype(t);
    const Work<T, Rule> work = make_work<T, Rule>(op, groups, states, make_rule);
    const Device device = groups.front().params.front().device();
    if (!work.pieces.empty()) {
      select(kernels<OptimizerKernels<T>>(device))(std::span<const Piece<T, Rule>>(work.pieces));
    }
    for (const auto& storage : work.memory) storage->note_access();  // what was derived meanwhile may be of half a step
  };
  run(float{});
  run(double{});
}

}  // namespace

// ---- Bookkeeping

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
  for (const auto& [option, value] : group.options) {
    check(value >= 0, name_, "{} must not be negative; got {}.", option, value);
    check(!option.starts_with("beta") || value < 1, name_, "{} must lie in [0, 1); got {}.", option, value);
  }
  check(group.options.count("nesterov") == 0 || group.options["nesterov"] == 0 ||
            (group.options["momentum"] > 0 && group.options["dampening"] == 0),
        name_, "nesterov needs momentum and no dampening; got momentum {} and dampening {}.", group.options["momentum"],
        group.options["dampening"]);
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
        tensor = tensor.detach().to(param.dtype()).to(param.device()).clone();
      }
      ++i;
    }
  }
  state_ = std::move(state);
}

void Optimizer::zero_grad() {
  for (ParamGroup& group : groups_) {
    for (Tensor& param : group.params) param.set_grad({});
  }
}

double Optimizer::lr() const { return groups_.front().options.at("lr"); }

void Optimizer::set_lr(double lr) {
  check(lr >= 0, name_, "lr must not be negative; got {}.", lr);
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
  run_step<SGDRule>(
      "SGD", groups_, state_, [](const auto& k) { return k.sgd; },
      [](const Options& o, State& state, const Tensor& param, auto& buffers) {
        const double momentum = o.at("momentum");
        const bool first = state.count("momentum_buffer") == 0;
        if (momentum != 0) buffers[0] = buffer(state, "momentum_buffer", param);
        return SGDRule{o.at("lr"), momentum, o.at("dampening"), o.at("weight_decay"), o.at("nesterov") != 0, first};
      });
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
  run_step<AdamRule>(
      "Adam", groups_, state_, [](const auto& k) { return k.adam; },
      [this](const Options& o, State& state, const Tensor& param, auto& buffers) {
        const double count = count_step(state), beta1 = o.at("beta1"), beta2 = o.at("beta2");
        buffers = {buffer(state, "exp_avg", param), buffer(state, "exp_avg_sq", param), Tensor()};
        return AdamRule{o.at("lr"),
                        beta1,
                        beta2,
                        o.at("eps"),
                        o.at("weight_decay"),
                        decoupled_weight_decay_,
                        1 - std::pow(beta1, count),
                        1 - std::pow(beta2, count)};
      });
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
  run_step<RMSpropRule>(
      "RMSprop", groups_, state_, [](const auto& k) { return k.rmsprop; },
      [](const Options& o, State& state, const Tensor& param, auto& buffers) {
        count_step(state);
        const double momentum = o.at("momentum");
        const bool centered = o.at("centered") != 0;
        buffers[0] = buffer(state, "square_avg", param);
        if (momentum != 0) buffers[1] = buffer(state, "momentum_buffer", param);
        if (centered) buffers[2] = buffer(state, "grad_avg", param);
        return RMSpropRule{o.at("lr"), o.at("alpha"), o.at("eps"), o.at("weight_decay"), momentum, centered};
      });
}

Adagrad::Adagrad(std::vector<Tensor> params, const AdagradOptions& options)
    : Adagrad(one_group(std::move(params)), options) {}
Adagrad::Adagrad(std::vector<ParamGroup> groups, const AdagradOptions& o)
    : Optimizer("Adagrad", std::move(groups),
                {{"lr", o.lr}, {"lr_decay", o.lr_decay}, {"weight_decay", o.weight_decay}, {"eps", o.eps}}) {}

void Adagrad::step() {
  run_step<AdagradRule>(
      "Adagrad", groups_, state_, [](const auto& k) { return k.adagrad; },
      [](const Options& o, State& state, const Tensor& param, auto& buffers) {
        const double count = count_step(state);
        buffers[0] = buffer(state, "sum", param);
        return AdagradRule{o.at("lr") / (1 + (count - 1) * o.at("lr_decay")), o.at("eps"), o.at("weight_decay")};
      });
}

double clip_grad_norm(std::span<const Tensor> params, double max_norm) {
  check(max_norm >= 0, "clip_grad_norm", "max_norm must not be negative; got {}.", max_norm);
  double total = 0;
  std::vector<Tensor> grads;
  for (const Tensor& param : params) {
    if (const Tensor grad = param.grad(); grad.defined()) grads.push_back(grad);
  }
  for (const Tensor& grad : grads) {
    dispatch_floating(grad.dtype(), [&](auto t) {
      using T = decltype(t);
      total += kernels<OptimizerKernels<T>>(grad.device()).square_sum(grad.numel(), grad.data<T>());
    });
  }
  const double norm = std::sqrt(total), factor = max_norm / (norm + 1e-6);
  if (factor >= 1) return norm;
  for (Tensor& grad : grads) {
    dispatch_floating(grad.dtype(), [&](auto t) {
      using T = decltype(t);
      kernels<OptimizerKernels<T>>(grad.device()).scale(grad.numel(), static_cast<T>(factor), grad.data<T>());
    });
    grad.impl()->storage->bump_version();
  }
  return norm;
}

namespace {

/// The gradients of one dtype, by device.
template <class T>
bool unscale(std::span<const Tensor> params, double factor) {
  std::vector<std::pair<Device, std::vector<GradientRun<T>>>> devices;
  for (const Tensor& param : params) {
    Tensor grad = param.grad();
    if (!grad.defined() || grad.dtype() != dtype_of<T>()) continue;
    auto found = std::find_if(devices.begin(), devices.end(), [&](const auto& d) { return d.first == grad.device(); });
    if (found == devices.end()) found = devices.insert(devices.end(), {grad.device(), {}});
    found->second.push_back({grad.data<T>(), grad.numel()});
    grad.impl()->storage->bump_version();
  }
  bool infinite = false;
  for (const auto& [device, runs] : devices) {
    infinite |= kernels<OptimizerKernels<T>>(device).unscale(runs, static_cast<T>(factor));
  }
  return infinite;
}

}  // namespace

bool unscale_gradients(std::span<const Tensor> params, double factor) {
  const bool infinite = unscale<float>(params, factor);
  return unscale<double>(params, factor) || infinite;
}

}  // namespace cnnx::optim
