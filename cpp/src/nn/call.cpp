// Calls of modules: the stack of a thread, their places in error messages, observers, checkpointing.
#include "cnnx/call.h"

#include <utility>

#include "autograd.h"
#include "check.h"
#include "cnnx/precision.h"
#include "nn/called.h"
#include "random.h"

namespace cnnx {
namespace {

thread_local const Call* innermost = nullptr;
thread_local CallObserver* observer = nullptr;  // the latest

constexpr std::string_view kAt = "; at ", kInput = "), input ";

std::string shapes(std::span<const Tensor> tensors) {
  std::string text;
  for (const Tensor& x : tensors) text += (text.empty() ? "" : ", ") + (x.defined() ? x.shape().str() : "none");
  return text;
}

/// What a second run depends on beside its input.
class ModuleState {
 public:
  explicit ModuleState(const Module& module) : modes_(modes(module)) {
    for (const Tensor& parameter : module.parameters()) values_.push_back(save(parameter));
  }

  /// Raises std::runtime_error if it is not what it was.
  void check_unchanged(const char* op, const Module& module) const {
    for (const Saved& value : values_) value.get(op);
    check<std::runtime_error>(modes(module) == modes_, op,
                              "the module was put into another mode, by train() or eval(), after its forward pass. Run "
                              "backward before.");
  }

 private:
  static std::vector<bool> modes(const Module& module) {
    std::vector<bool> found{module.training()};
    for (const auto& [name, inner] : module.named_descendants()) found.push_back(inner->training());
    return found;
  }

  std::vector<bool> modes_;
  std::vector<Saved> values_;
};

/// Rehearses forward() and runs it again in the backward pass.
Tensor checkpointed(const std::shared_ptr<Module>& module, const Tensor& x) {
  constexpr const char* kOp = "checkpoint";
  const auto streams = std::make_shared<StreamTape>();
  const ModuleState state(*module);
  Tensor y;
  {
    const RehearsalGuard rehearsal;
    const StreamTapeGuard tape(*streams, StreamTapeGuard::Mode::kRecord);
    y = module->forward(x).detach();
  }
  const bool need_x = x.requires_grad();
  const Precision precision = autocast_precision();
  const std::string path = Call::current() ? Call::current()->path() : "";
  return record(kOp, y, {&x}, [=, saved_x = save(x)](const Tensor& gy) -> Gradients {
    state.check_unchanged(kOp, *module);
    Tensor input = saved_x.get(kOp).detach();
    input.set_requires_grad(need_x);
    const RecomputeGuard recompute;
    const Tensor again = [&] {
      const AutocastGuard autocast(precision);
      Call call(*module, path);
      call.set_inputs({&input, 1});
      const StreamTapeGuard tape(*streams, StreamTapeGuard::Mode::kReplay);
      return module->forward(input);
    }();
    check<std::runtime_error>(again.shape() == gy.shape(), kOp,
                              "the module returned a tensor of shape {} at first and of shape {} the second time.",
                              gy.shape(), again.shape());
    if (again.requires_grad()) again.backward(gy);
    return {input.grad()};
  });
}

bool needs_record(const Module& module, const Tensor& x) {
  if (!is_grad_enabled()) return false;
  return x.requires_grad() || grad_needed(module.parameters());
}

Tensor run(Module& module, const std::shared_ptr<Module>& shared, const Tensor& x) {
  return called(module, x, [&] {
    const bool checkpoint = shared && module.is_checkpointed() && x.defined() && needs_record(module, x);
    return checkpoint ? checkpointed(shared, x) : module.forward(x);
  });
}

}  // namespace

Tensor Module::operator()(const Tensor& x) { return run(*this, nullptr, x); }

Tensor ModulePtr::operator()(const Tensor& x) const {
  check(get() != nullptr, "module", "a null pointer was called.");
  return run(**this, *this, x);
}

// ---- Call

Call::Call(const Module& module) : module_(module), outer_(std::exchange(innermost, this)) {}
Call::Call(const Module& module, std::string path) : Call(module) { path_ = std::move(path); }
Call::~Call() { innermost = outer_; }

const Call* Call::current() { return innermost; }
bool Call::is_watched() { return observer != nullptr; }

void Call::enter() const {
  for (CallObserver* each = observer; each; each = each->previous_) each->entered(*this);
}

void Call::leave(std::span<const Tensor> outputs) const {
  for (CallObserver* each = observer; each; each = each->previous_) each->left(*this, outputs);
}

std::string Call::path() const {
  if (path_) return *path_;
  if (!outer_) return {};
  const std::string before = outer_->path(), name = outer_->module_.name_of(module_);
  return before.empty() ? name : before + "." + name;
}

std::string Call::place() const {
  const std::string at = path();
  return at.empty() ? at : at + " (" + module_.type_name() + std::string(kInput) + shapes(inputs_);
}

std::string Call::locate(std::string_view message) const {
  std::string text(message);
  if (text.find(kAt) != std::string::npos && text.find(kInput) != std::string::npos) return text;
  const std::string at = place();
  if (at.empty()) return text;
  if (text.ends_with('.')) text.pop_back();
  return text + std::string(kAt) + at + ".";
}

// ---- CallObserver

CallObserver::CallObserver() : previous_(std::exchange(observer, this)) {}
CallObserver::~CallObserver() {
  CallObserver** link = &observer;
  while (*link && *link != this) link = &(*link)->previous_;
  if (*link) *link = previous_;
}

}  // namespace cnnx
