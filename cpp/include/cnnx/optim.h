// Optimisers: one fused pass over all parameters a step. Formulas and defaults are torch.optim's.
#pragma once

#include <deque>
#include <map>
#include <mutex>

#include "cnnx/tensor.h"

namespace cnnx::optim {

/// Parameters that share hyperparameters. Options absent here take the optimiser's defaults.
struct CNNX_API ParamGroup {
  std::vector<Tensor> params;
  std::map<std::string, double> options;  ///< "lr", "weight_decay", "momentum", ... as the optimiser names them.

  /// Raises std::invalid_argument for options out of range; `op` names the optimiser in the message.
  void check_options(const char* op) const;
};

/// Base of all optimisers: groups of parameters, named state tensors for each parameter.
class CNNX_API Optimizer {
 public:
  virtual ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Updates every parameter that has a gradient.
  virtual void step() = 0;
  virtual std::string type_name() const = 0;
  /// Drops the gradients (sets them to undefined), or fills them with zeros.
  void zero_grad(bool set_to_none = true);
  /// Adds parameters, leaves that are in no group yet. Raises std::invalid_argument.
  void add_param_group(ParamGroup group);
  std::deque<ParamGroup>& param_groups() { return groups_; }  ///< References stay valid when groups are added.
  /// The options of groups that have none of their own.
  const std::map<std::string, double>& defaults() const { return defaults_; }
  /// State tensors of one parameter by name ("momentum_buffer", "exp_avg", ...); empty before its first step.
  using State = std::map<std::string, Tensor>;
  std::vector<State>& state() { return state_; }  ///< One entry a parameter, in the order of the groups.
  /// Replaces the state. Raises std::invalid_argument unless each tensor is the step or has its parameter's shape.
  void set_state(std::vector<State> state);
  /// Nothing here locks by itself; who calls from several threads holds this.
  std::mutex& mutex() { return mutex_; }
  /// Expires with the optimiser.
  std::weak_ptr<Optimizer*> self() const { return self_; }
  double lr() const;
  void set_lr(double lr);  ///< For all groups.

 protected:
  /// `name` appears in errors; `defaults` also lists the options that a group may have.
  Optimizer(const char* name, std::vector<ParamGroup> groups, const std::map<std::string, double>& defaults);
  std::deque<ParamGroup> groups_;
  std::vector<State> state_;

 private:
  std::mutex mutex_;
  std::shared_ptr<Optimizer*> self_ = std::make_shared<Optimizer*>(this);
  const char* name_;
  std::map<std::string, double> defaults_;
};

struct SGDOptions {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
};
class CNNX_API SGD : public Optimizer {
 public:
  explicit SGD(std::vector<Tensor> params, const SGDOptions& options = {});
  explicit SGD(std::vector<ParamGroup> groups, const SGDOptions& options = {});
  void step() override;
  std::string type_name() const override { return "SGD"; }
};

struct AdamOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
};
/// Kingma and Ba (2015). Weight decay is added to the gradient.
class CNNX_API Adam : public Optimizer {
 public:
  explicit Adam(std::vector<Tensor> params, const AdamOptions& options = {});
  explicit Adam(std::vector<ParamGroup> groups, const AdamOptions& options = {});
  void step() override;
  std::string type_name() const override { return "Adam"; }

 protected:
  Adam(const char* name, std::vector<ParamGroup> groups, const AdamOptions& options, bool decoupled_weight_decay);

 private:
  bool decoupled_weight_decay_ = false;
};

/// Weight decay shrinks the parameters directly (Loshchilov and Hutter, 2019); torch's default is 0.01.
class CNNX_API AdamW : public Adam {
 public:
  explicit AdamW(std::vector<Tensor> params, const AdamOptions& options = {.weight_decay = 0.01});
  explicit AdamW(std::vector<ParamGroup> groups, const AdamOptions& options = {.weight_decay = 0.01});
  std::string type_name() const override { return "AdamW"; }
};

struct RMSpropOptions {
  double lr = 1e-2;
  double alpha = 0.99;
  double eps = 1e-8;
  double weight_decay = 0;
  double momentum = 0;
  bool centered = false;
};
/// Hinton's lecture 6e: the gradient over the root of its running mean square.
class CNNX_API RMSprop : public Optimizer {
 public:
  explicit RMSprop(std::vector<Tensor> params, const RMSpropOptions& options = {});
  explicit RMSprop(std::vector<ParamGroup> groups, const RMSpropOptions& options = {});
  void step() override;
  std::string type_name() const override { return "RMSprop"; }
};

struct AdagradOptions {
  double lr = 1e-2;
  double lr_decay = 0;
  double weight_decay = 0;
  double eps = 1e-10;
};
/// Duchi et al. (2011).
class CNNX_API Adagrad : public Optimizer {
 public:
  explicit Adagrad(std::vector<Tensor> params, const AdagradOptions& options = {});
  explicit Adagrad(std::vector<ParamGroup> groups, const AdagradOptions& options = {});
  void step() override;
  std::string type_name() const override { return "Adagrad"; }
};

/// Scales all gradients so that their joint norm is at most max_norm; returns the norm before, a float64 number on
/// their device: nothing waits for it. norm_type p stands for (sum |g|^p)^(1/p), infinity for the largest |g|.
CNNX_API Tensor clip_grad_norm(std::span<const Tensor> params, double max_norm, double norm_type = 2);

/// Multiplies all gradients by the factor; whether any had a value that is not finite. Waits for their device.
CNNX_API bool unscale_gradients(std::span<const Tensor> params, double factor);

}  // namespace cnnx::optim
