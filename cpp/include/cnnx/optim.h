// Optimisers: one fused pass over all parameters a step.
#pragma once

#include <map>

#include "cnnx/tensor.h"

namespace cnnx::optim {

/// Parameters that share hyperparameters. Options absent here take the optimiser's defaults.
struct ParamGroup {
  std::vector<Tensor> params;
  std::map<std::string, double> options;  ///< "lr", "weight_decay", "momentum", ... as the optimiser names them.
};

/// Base of all optimisers: groups of parameters, named state tensors for each parameter.
class CNNX_API Optimizer {
 public:
  virtual ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Updates every parameter that has a gradient.
  virtual void step() = 0;
  void zero_grad();  ///< Drops the gradients (sets them to undefined).
  std::vector<ParamGroup>& param_groups() { return groups_; }
  /// State tensors of one parameter by name ("momentum_buffer", "exp_avg", ...); empty before its first step.
  using State = std::map<std::string, Tensor>;
  std::vector<State>& state() { return state_; }
  double lr() const;
  void set_lr(double lr);  ///< For all groups.

 protected:
  Optimizer(std::vector<ParamGroup> groups, const std::map<std::string, double>& defaults);
  std::vector<ParamGroup> groups_;
  std::vector<State> state_;  ///< One entry a parameter, in the order of the groups.
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
};

struct AdamOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
};
/// Weight decay is added to the gradient.
class CNNX_API Adam : public Optimizer {
 public:
  explicit Adam(std::vector<Tensor> params, const AdamOptions& options = {});
  explicit Adam(std::vector<ParamGroup> groups, const AdamOptions& options = {});
  void step() override;

 protected:
  Adam(std::vector<ParamGroup> groups, const AdamOptions& options, bool decoupled_weight_decay);

 private:
  bool decoupled_weight_decay_ = false;
};

/// Weight decay shrinks the parameters directly (Loshchilov and Hutter, 2019); torch's default is 0.01.
class CNNX_API AdamW : public Adam {
 public:
  explicit AdamW(std::vector<Tensor> params, const AdamOptions& options = {.weight_decay = 0.01});
  explicit AdamW(std::vector<ParamGroup> groups, const AdamOptions& options = {.weight_decay = 0.01});
};

/// Scales all gradients so that their joint 2-norm is at most max_norm; returns the norm before.
CNNX_API double clip_grad_norm(std::span<const Tensor> params, double max_norm);

}  // namespace cnnx::optim
