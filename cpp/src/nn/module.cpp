// Module: registration of parameters, buffers and children, walks over them, and state dictionaries.
#include "cnnx/module.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "autograd.h"
#include "check.h"
#include "cuda/capture.h"
#include "nn/fields.h"
#include "nn/substitutes.h"

namespace cnnx {
namespace {

constexpr int kMaxLevel = 512;            // of nested modules: what recursion takes of the stack stays small
constexpr int64_t kMaxPaths = 1'000'000;  // names under which shared modules may appear in one state dictionary
constexpr int64_t kMaxPrinted = 10'000;   // modules in one repr

template <class List>
auto find_name(List& list, std::string_view name) {
  return std::find_if(list.begin(), list.end(), [&](const auto& entry) { return entry.first == name; });
}

template <class T>
T value_or_empty(const std::vector<std::pair<std::string, T>>& list, std::string_view name) {
  const auto at = find_name(list, name);
  return at == list.end() ? T() : at->second;
}

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

const char* slot_name(Module::Slot slot) {
  return slot == Module::Slot::kParameter ? "parameter" : slot == Module::Slot::kBuffer ? "buffer" : "child module";
}

void check_name(const char* op, const Module& module, const std::string& name, Module::Slot wanted) {
  check(!name.empty() && name.find('.') == std::string::npos, op,
        "a name must not be empty or contain a dot; got \"{}\". Dots separate the levels of nested modules.", name);
  const Module::Slot slot = module.slot(name);
  check(slot == Module::Slot::kNone || slot == wanted, op, "\"{}\" is already the name of a {} of this {}.", name,
        slot_name(slot), module.type_name());
}

/// Puts a value under a name and returns the value that was there, for its destructor to run outside the lock.
template <class T>
T assign(std::mutex& mutex, std::vector<std::pair<std::string, T>>& list, const std::string& name, T value) {
  const std::lock_guard lock(mutex);
  if (const auto at = find_name(list, name); at != list.end()) return std::exchange(at->second, std::move(value));
  list.emplace_back(name, std::move(value));
  return T();
}

template <class T>
bool remove(std::mutex& mutex, std::vector<std::pair<std::string, T>>& list, const std::string& name) {
  T removed;  // destroyed after the lock
  const std::lock_guard lock(mutex);
  const auto at = find_name(list, name);
  if (at == list.end()) return false;
  removed = std::move(at->second);
  list.erase(at);
  return true;
}

}  // namespace

Module::~Module() = default;

Module::Module(Module&& other) noexcept
    : training_(other.training_),
      checkpointed_(other.checkpointed_),
      parameters_(std::move(other.parameters_)),
      buffers_(std::move(other.buffers_)),
      children_(std::move(other.children_)),
      level_(other.level_) {}

Module& Module::operator=(Module&& other) {
  if (this == &other) return *this;
  for (const auto& [name, child] : other.children_) child->raise_level(level_ + 1, this);
  training_ = other.training_;
  checkpointed_ = other.checkpointed_;
  parameters_ = std::move(other.parameters_);
  buffers_ = std::move(other.buffers_);
  children_ = std::move(other.children_);
  return *this;
}

Tensor Module::forward(const Tensor&) {
  fail<std::runtime_error>("module", "{} has no forward(x). Define it in the class.", type_name());
}

std::string Module::type_name() const { return "Module"; }
void Module::visit_fields(FieldVisitor&) {}

// ---- Text

std::string Module::extra_repr() {
  FieldPrinter printer;
  visit_fields(printer);
  return printer.text();
}

std::string Module::repr() {
  int64_t budget = kMaxPrinted;
  return print(budget);
}

std::string Module::print(int64_t& budget) {
  if (--budget < 0) return "...";
  const std::string extra = extra_repr();
  const NamedModules children = named_children();  // extra_repr may be Python's and change the list
  if (children.empty() && extra.find('\n') == std::string::npos) return type_name() + "(" + extra + ")";
  std::string body = extra;
  for (const auto& [name, child] : children) {
    body += (body.empty() ? "(" : "\n(") + name + "): " + child->print(budget);
    if (budget < 0) break;
  }
  std::string text = type_name() + "(\n  ";
  for (const char c : body) text += c == '\n' ? "\n  " : std::string(1, c);
  return text + "\n)";
}

// ---- Registration

void Module::register_parameter(const std::string& name, const Tensor& tensor) {
  check_name("register_parameter", *this, name, Slot::kParameter);
  Tensor value = tensor;
  if (value.defined()) {
    check(value.is_leaf(), "register_parameter", "\"{}\" must be a leaf; got the result of an operation. Use detach().",
          name);
    check(is_floating(value.dtype()), "register_parameter", "\"{}\" must be of floating-point numbers; got {}.", name,
          value.dtype());
    value.set_requires_grad(true);
  }
  assign(mutex_, parameters_, name, std::move(value));
}

void Module::register_buffer(const std::string& name, const Tensor& tensor) {
  check_name("register_buffer", *this, name, Slot::kBuffer);
  if (tensor.defined() && buffer(name).impl() == tensor.impl()) return;  // as after `self.name += 1`
  assign(mutex_, buffers_, name, tensor);
}

void Module::attach(const std::string& name, std::shared_ptr<Module> module) {
  check_name("register_module", *this, name, Slot::kChild);
  check(module != nullptr, "register_module", "\"{}\" must be a module; got a null pointer.", name);
  module->raise_level(level_ + 1, this);
  assign(mutex_, children_, name, std::move(module));
}

// A module's level exceeds that of all that hold it. So a subtree that is deep enough already cannot contain
// `ancestor`, which is about to hold this module, and need not be searched.
void Module::raise_level(int level, const Module* ancestor) {
  check(this != ancestor, "register_module", "a {} cannot be inside itself.", ancestor->type_name());
  if (level_ >= level) return;
  check(level <= kMaxLevel, "register_module", "modules nest at most {} deep.", kMaxLevel);
  for (const auto& [name, child] : children_) child->raise_level(level + 1, ancestor);
  level_ = level;
}

bool Module::unregister(const std::string& name) {
  return remove(mutex_, parameters_, name) || remove(mutex_, buffers_, name) || remove(mutex_, children_, name);
}

Tensor Module::parameter(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  return value_or_empty(parameters_, name);
}

Tensor Module::buffer(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  return SubstitutesGuard::seen(value_or_empty(buffers_, name));
}

std::shared_ptr<Module> Module::child(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  return value_or_empty(children_, name);
}

Module::Slot Module::slot(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  if (find_name(parameters_, name) != parameters_.end()) return Slot::kParameter;
  if (find_name(buffers_, name) != buffers_.end()) return Slot::kBuffer;
  return find_name(children_, name) != children_.end() ? Slot::kChild : Slot::kNone;
}

std::vector<std::string> Module::slot_names(Slot slot) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  if (slot == Slot::kChild) {
    for (const auto& [name, child] : children_) names.push_back(name);
  } else if (slot != Slot::kNone) {
    for (const auto& [name, tensor] : slot == Slot::kParameter ? parameters_ : buffers_) names.push_back(name);
  }
  return names;
}

Module::NamedModules Module::named_children() const {
  const std::lock_guard lock(mutex_);
  return children_;
}

std::vector<std::shared_ptr<Module>> Module::children_snapshot(std::string_view except) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Module>> modules;
  modules.reserve(children_.size());
  for (const auto& [name, child] : children_) {
    if (name != except) modules.push_back(child);
  }
  return modules;
}

std::string Module::name_of(const Module& descendant) const {
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, child] : children_) {
      if (child.get() == &descendant) return name;
    }
  }
  for (const auto& [name, module] : named_descendants()) {
    if (module.get() == &descendant) return name;
  }
  return "<" + descendant.type_name() + ">";
}

void Module::set_children(NamedModules children) {
  const std::lock_guard lock(mutex_);
  children_.swap(children);  // the former list is destroyed after the lock
}

// ---- Walks

/// What a walk over tensors collects, and, when each counts once, what it has seen.
struct Module::Walk {
  bool parameters = true;
  bool buffers = true;
  bool once = true;
  StateDict found = {};
  std::unordered_set<const void*> seen = {};
  int64_t modules = 0;

  bool is_new(const void* item) { return !once || seen.insert(item).second; }
};

void Module::collect(Walk& walk, const std::string& prefix, bool recurse) const {
  if (!walk.is_new(this)) return;
  check<std::runtime_error>(++walk.modules <= kMaxPaths, "state_dict",
                            "shared modules appear under more than {} names.", kMaxPaths);
  StateDict parameters, buffers;
  NamedModules children;
  {
    const std::lock_guard lock(mutex_);
    if (walk.parameters) parameters = parameters_;
    if (walk.buffers) buffers = buffers_;
    if (recurse) children = children_;
  }
  const auto add = [&](const StateDict& list) {
    for (const auto& [name, tensor] : list) {
      if (tensor.defined() && walk.is_new(tensor.impl().get())) walk.found.emplace_back(prefix + name, tensor);
    }
  };
  add(parameters);
  add(buffers);
  for (const auto& [name, child] : children) child->collect(walk, prefix + name + ".", true);
}

namespace {
std::string with_dot(const std::string& prefix) { return prefix.empty() ? prefix : prefix + "."; }
}  // namespace

StateDict Module::named_parameters(const std::string& prefix, bool recurse, bool once) const {
  Walk walk{.buffers = false, .once = once};
  collect(walk, with_dot(prefix), recurse);
  return std::move(walk.found);
}

StateDict Module::named_buffers(const std::string& prefix, bool recurse) const {
  Walk walk{.parameters = false};
  collect(walk, with_dot(prefix), recurse);
  return std::move(walk.found);
}

std::vector<Tensor> Module::parameters() const {
  std::vector<Tensor> tensors;
  for (auto& [name, tensor] : named_parameters()) tensors.push_back(std::move(tensor));
  return tensors;
}

Module::NamedModules Module::named_descendants(const std::string& prefix) const {
  NamedModules found;
  std::unordered_set<const Module*> seen;
  const auto visit_children = [&](const auto& self, const Module& module, const std::string& start) -> void {
    for (const auto& [name, child] : module.named_children()) {
      if (!seen.insert(child.get()).second) continue;
      found.emplace_back(start + name, child);
      self(self, *child, start + name + ".");
    }
  };
  visit_children(visit_children, *this, with_dot(prefix));
  return found;
}

std::shared_ptr<Module> Module::get_submodule(const std::string& path) const {
  std::shared_ptr<Module> found;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    const Module& module = found ? *found : *this;
    const std::string name = path.substr(begin, end - begin);
    std::shared_ptr<Module> next = module.child(name);
    check(next != nullptr, "get_submodule", "{} has no child \"{}\"; got path \"{}\".", module.type_name(), name, path);
    found = std::move(next);
    begin = end + 1;
  }
  return found;
}

void Module::set_training(bool on) {
  if (on != training_) note_mode_change();
  training_ = on;
}

void Module::train(bool on) {
  set_training(on);
  std::unordered_set<const Module*> seen;
  for (const auto& child : children_snapshot()) {
    if (seen.insert(child.get()).second) child->train(on);
  }
}

void Module::apply(const std::function<void(Module&)>& fn) {
  std::unordered_set<const Module*> seen;
  const auto visit_module = [&](const auto& self, Module& module) -> void {
    for (const auto& child : module.children_snapshot()) {
      if (seen.insert(child.get()).second) self(self, *child);
    }
    fn(module);
  };
  visit_module(visit_module, *this);
}

// ---- State

std::vector<std::vector<std::string>> Module::shared_names() const {
  Walk walk{.once = false};
  collect(walk, "", true);
  std::vector<std::vector<std::string>> groups;
  std::unordered_map<const void*, size_t> at;
  for (const auto& [name, tensor] : walk.found) {
    const size_t group = at.emplace(tensor.impl().get(), groups.size()).first->second;
    if (group == groups.size()) groups.emplace_back();
    groups[group].push_back(name);
  }
  std::erase_if(groups, [](const auto& names) { return names.size() < 2; });
  return groups;
}

void Module::share_tensors(const std::vector<std::string>& names) {
  Tensor shared;
  for (const std::string& path : names) {
    const size_t dot = path.rfind('.');
    const std::shared_ptr<Module> owner = dot == std::string::npos ? nullptr : get_submodule(path.substr(0, dot));
    Module& module = owner ? *owner : *this;
    const std::string name = path.substr(dot == std::string::npos ? 0 : dot + 1);
    const bool is_buffer = module.slot(name) == Slot::kBuffer;
    const Tensor own = is_buffer ? module.buffer(name) : module.parameter(name);
    if (!shared.defined()) shared = own;
    const bool fits = own.defined() && own.shape() == shared.shape() &&
                      (own.dtype() == shared.dtype() || (is_floating(own.dtype()) && is_floating(shared.dtype())));
    check(fits, "share_tensors",
          "\"{}\" cannot be the same as \"{}\": it is no tensor of this {} with that shape and kind.", path,
          names.front(), type_name());
    const bool trains = shared.requires_grad();
    is_buffer ? module.register_buffer(name, shared) : module.register_parameter(name, shared);
    if (!is_buffer) shared.set_requires_grad(trains);
  }
}

StateDict Module::state_dict() const {
  Walk walk{.once = false};
  collect(walk, "", true);
  for (auto& [name, tensor] : walk.found) tensor = tensor.detach();
  return std::move(walk.found);
}

namespace {
/// torch writes this counter only since version 0.4.1, and nothing depends on it.
bool is_optional_key(const std::string& name) {
  constexpr std::string_view kCounter = "num_batches_tracked";
  return name == kCounter || name.ends_with("." + std::string(kCounter));
}
}  // namespace

Module::LoadResult Module::load_state_dict(const StateDict& state, bool strict) {
  LoadResult result;
  std::string mismatched;
  std::unordered_map<std::string_view, const Tensor*> given;
  for (const auto& [name, tensor] : state) {
    check(tensor.defined(), "load_state_dict", "\"{}\" has no value.", name);
    check(given.emplace(name, &tensor).second, "load_state_dict", "the key \"{}\" appears twice.", name);
  }
  std::vector<std::pair<Tensor, const Tensor*>> copies;
  for (const auto& [name, target] : state_dict()) {
    const auto at = given.find(name);
    if (at == given.end()) {
      if (!is_optional_key(name)) result.missing.push_back(name);
      continue;
    }
    const Tensor& source = *at->second;
    if (source.shape() != target.shape()) {
      mismatched += format("\n  {} has shape {} in the model, {} in the state.", name, target.shape(), source.shape());
    }
    copies.emplace_back(target, &source);
    given.erase(at);
  }
  for (const auto& [name, tensor] : state) {
    if (given.contains(name)) result.unexpected.push_back(name);
  }
  const bool names_fit = !strict || (result.missing.empty() && result.unexpected.empty());
  if (!names_fit || !mismatched.empty()) {
    std::string problems;
    if (strict && !result.missing.empty()) problems += "\n  Missing keys: " + join(result.missing) + ".";
    if (strict && !result.unexpected.empty()) problems += "\n  Unexpected keys: " + join(result.unexpected) + ".";
    fail("load_state_dict", "the state does not fit this {}; nothing was changed.{}{}", type_name(), problems,
         mismatched);
  }
  for (auto& [target, source] : copies) {
    const bool same = target.raw_data() == source->raw_data() && target.dtype() == source->dtype();
    if (!same) target.copy_(source->detach());
  }
  return result;
}

namespace {
/// Moves every distinct tensor, and its gradient, to where convert puts it.
template <class Convert>
void convert_tensors(Module& module, Convert convert) {
  StateDict tensors = module.named_parameters();
  for (auto& entry : module.named_buffers()) tensors.push_back(std::move(entry));
  for (auto& [name, tensor] : tensors) {
    const Tensor grad = tensor.grad();
    tensor.set_data(convert(tensor.detach()));
    if (grad.defined()) tensor.set_grad(convert(grad));
  }
}
}  // namespace

void Module::to(DType dtype) {
  check(is_floating(dtype), "to", "modules convert to floating-point dtypes; got {}.", dtype);
  convert_tensors(*this, [&](const Tensor& x) { return is_floating(x.dtype()) ? x.to(dtype) : x; });
  apply([&](Module& module) { module.dtype_changed(dtype); });
}

void Module::to(Device device) {
  convert_tensors(*this, [&](const Tensor& x) { return x.to(device); });
}

void Module::zero_grad(bool set_to_none) {
  for (Tensor& tensor : parameters()) cnnx::zero_grad(tensor, set_to_none);
}

void Module::requires_grad_(bool on) {
  for (Tensor& tensor : parameters()) tensor.set_requires_grad(on);
}

}  // namespace cnnx
