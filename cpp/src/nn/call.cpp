// Calls of modules: the stack of a thread, their places in error messages, observers, checkpointing.
#include "cnnx/call.h"

#include <utility>

#include "autograd.h"
#include "check.h"
#include "cnnx/precision.h"
#include "nn/called.h"
#include "nn/substitutes.h"
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

/// A buffer as a run of forward() finds it: itself where the run leaves it alone, else a copy.
class FoundBuffer {
 public:
  FoundBuffer(std::shared_ptr<Module> owner, const std::string& name) : owner_(std::move(owner)), name_(name) {
    original_ = owner_->buffer(name_);
    saved_ = save(original_);
    if (original_.defined()) copy_ = original_.detach().clone();
  }

  /// To be called after the run.
  void settle() {
    is_copy_ = owner_->buffer(name_).impl() != original_.impl() || !saved_.unchanged();
    (is_copy_ ? original_ : copy_) = {};
    saved_ = save(is_copy_ ? copy_ : original_);
  }

  /// The values as the first run found them. Raises std::runtime_error if they are lost.
  Tensor found(const char* op) const {
    const Tensor kept = saved_.get(op);
    return is_copy_ && kept.defined() ? kept.clone() : original_;
  }
  /// What the module has now, whatever this thread sees.
  Tensor present() const {
    const SubstitutesGuard none(nullptr);
    return owner_->buffer(name_);
  }
  void replace(const Tensor& tensor) const { owner_->register_buffer(name_, tensor); }

 private:
  std::shared_ptr<Module> owner_;
  std::string name_;
  Tensor original_, copy_;
  Saved saved_;
  bool is_copy_ = false;
};

/// What a second run depends on beside its input.
class ModuleState {
 public:
  /// As it is before the first run.
  explicit ModuleState(const std::shared_ptr<Module>& module) : module_(module), modes_(modes()) {
    for (const Tensor& parameter : module->parameters()) values_.push_back(save(parameter));
    add_buffers(module);
    for (const auto& [name, inner] : module->named_descendants()) add_buffers(inner);
  }

  /// To be called after the first run.
  void settle() {
    for (FoundBuffer& buffer : buffers_) buffer.settle();
  }

  /// Runs forward() on the buffers that the first run found, and leaves the module with those that it has. Raises
  /// std::runtime_error if others have changed since then what it depends on.
  Tensor run_again(const char* op, const Tensor& input) const {
    for (const Saved& value : values_) value.get(op);
    check<std::runtime_error>(modes() == modes_, op,
                              "the module was put into another mode, by train() or eval(), after its forward pass. Run "
                              "backward before.");
    std::vector<Tensor> present;
    Substitutes substitutes;  // one for all names of a buffer
    for (const FoundBuffer& buffer : buffers_) {
      const Tensor& now = present.emplace_back(buffer.present());
      const Tensor found = buffer.found(op);
      check<std::runtime_error>(now.defined() || !found.defined(), op,
                                "a buffer was removed after the forward pass. Run backward before.");
      if (now.impl() != found.impl()) substitutes.emplace(now.impl().get(), found);
    }
    const auto restore = [&] {  // what the run has registered anew
      for (size_t i = 0; i < present.size(); ++i) {
        if (buffers_[i].present().impl() != present[i].impl()) buffers_[i].replace(present[i]);
      }
    };
    try {
      const SubstitutesGuard guard(&substitutes);
      Tensor output = module_->forward(input);
      restore();
      return output;
    } catch (...) {
      restore();
      throw;
    }
  }

 private:
  std::vector<bool> modes() const {
    std::vector<bool> found{module_->training()};
    for (const auto& [name, inner] : module_->named_descendants()) found.push_back(inner->training());
    return found;
  }

  void add_buffers(const std::shared_ptr<Module>& owner) {
    for (const std::string& name : owner->slot_names(Module::Slot::kBuffer)) buffers_.emplace_back(owner, name);
  }

  std::shared_ptr<Module> module_;
  std::vector<bool> modes_;
  std::vector<Saved> values_;
  std::vector<FoundBuffer> buffers_;
};

/// Rehearses forward() and runs it again in the backward pass. Its input is no leaf, either time, and shares memory, so
/// that x += 1 makes a tensor and x[0] = y is refused.
Tensor checkpointed(const std::shared_ptr<Module>& module, const Tensor& x) {
  constexpr const char* kOp = "checkpoint";
  const auto streams = std::make_shared<StreamTape>();
  ModuleState state(module);
  const Saved saved_x = save(x);  // before forward() could write to it
  Tensor y;
  {
    const RehearsalGuard rehearsal;
    const StreamTapeGuard tape(*streams, StreamTapeGuard::Mode::kRecord);
    y = module->forward(x.reshape(x.shape())).detach();
  }
  state.settle();
  const bool need_x = x.requires_grad();
  const Precision precision = autocast_precision();
  const std::string path = Call::current() ? Call::current()->path() : "";
  return record(kOp, y, {&x}, [=](const Tensor& gy) -> Gradients {
    Tensor input = saved_x.get(kOp).detach();
    input.set_requires_grad(need_x);
    const RecomputeGuard recompute;
    const Tensor again = [&] {
      const AutocastGuard autocast(precision);
      Call call(*module, path);
      call.set_inputs({&input, 1});
      const StreamTapeGuard tape(*streams, StreamTapeGuard::Mode::kReplay);
      return state.run_again(kOp, input.reshape(input.shape()));
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
