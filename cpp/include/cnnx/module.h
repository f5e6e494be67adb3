// Module, the base of layers and models, and Sequential.
#pragma once

#include <concepts>
#include <mutex>
#include <typeinfo>
#include <utility>

#include "cnnx/ops.h"

namespace cnnx {

/// Visits a layer's constructor arguments by name: one description serves printing, saving and loading.
class CNNX_API FieldVisitor {
 public:
  virtual ~FieldVisitor();
  virtual void field(const char* name, bool& value) = 0;
  virtual void field(const char* name, int64_t& value) = 0;
  virtual void field(const char* name, double& value) = 0;
  virtual void field(const char* name, std::string& value) = 0;
  virtual void field(const char* name, Pair& value) = 0;
  virtual void field(const char* name, std::optional<Pair>& value) = 0;
  virtual void field(const char* name, std::optional<Scale>& value) = 0;
  virtual void field(const char* name, Padding& value) = 0;
  virtual void field(const char* name, Fit& value) = 0;
  virtual void field(const char* name, DType& value) = 0;
  virtual void field(const char* name, Shape& value) = 0;
};

/// Named tensors in a fixed order.
using StateDict = std::vector<std::pair<std::string, Tensor>>;

/// Base of all layers and models: named parameters, buffers and child modules, in order of registration.
///
///   struct Net : cnnx::Module {
///     std::shared_ptr<cnnx::Linear> first = register_module("first", cnnx::Linear(64, 10));
///     cnnx::Tensor forward(const cnnx::Tensor& x) override { return cnnx::relu((*first)(x)); }
///   };
class CNNX_API Module {
 public:
  Module() = default;
  virtual ~Module();
  Module(Module&& other) noexcept;
  Module& operator=(Module&& other);
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  virtual Tensor forward(const Tensor& x);
  /// forward(x), with the module's place in the messages of errors; see call.h.
  Tensor operator()(const Tensor& x);

  /// Whether calls through a shared pointer, as those that containers make, keep the input alone and compute the rest
  /// again in the backward pass.
  void set_checkpointed(bool on) { checkpointed_ = on; }
  bool is_checkpointed() const { return checkpointed_; }

  /// The class's name, as printed and saved.
  virtual std::string type_name() const;
  /// The class whose behaviour the module has: its own, or, for a language binding's wrapper, the class it wraps.
  virtual const std::type_info& layer_type() const { return typeid(*this); }
  /// Constructor arguments; nothing for a module without any.
  virtual void visit_fields(FieldVisitor& visitor);
  /// Whether the architecture can be saved, that is, rebuilt from type_name, fields and children.
  virtual bool is_describable() const { return false; }
  /// What repr() writes between the parentheses, before the children: the fields, in torch's style.
  virtual std::string extra_repr();
  std::string repr();

  virtual void train(bool on = true);
  void eval() { train(false); }
  bool training() const { return training_; }
  void set_training(bool on);  ///< This module's own flag, not its children's.

  /// Parameters of this module and, recursively, of its children; a shared one once, under its first name, or, in
  /// named_parameters with `once` off, under each of its names.
  std::vector<Tensor> parameters() const;
  StateDict named_parameters(const std::string& prefix = "", bool recurse = true, bool once = true) const;
  StateDict named_buffers(const std::string& prefix = "", bool recurse = true) const;
  using NamedModules = std::vector<std::pair<std::string, std::shared_ptr<Module>>>;
  NamedModules named_children() const;
  /// Children, their children and so on by dotted name, parents first; a shared one once, under its first name.
  NamedModules named_descendants(const std::string& prefix = "") const;
  /// The dotted name of a descendant; its type in angle brackets if it is none.
  std::string name_of(const Module& descendant) const;
  /// The descendant of a dotted name such as "features.0". Raises std::invalid_argument.
  std::shared_ptr<Module> get_submodule(const std::string& path) const;

  /// Lists of the names under which one parameter or buffer appears, of those that have several.
  std::vector<std::vector<std::string>> shared_names() const;
  /// Lets parameters or buffers of one shape be one: that of the first name. Raises std::invalid_argument.
  void share_tensors(const std::vector<std::string>& names);

  /// Parameters and buffers by dotted name, a shared one under each of its names. The tensors share the module's
  /// buffers.
  StateDict state_dict() const;
  /// Copies values in. Raises std::invalid_argument that names every missing, unexpected and mis-shaped key, before any
  /// value has changed; with strict off, only mis-shaped keys are errors. Returns the missing and the unexpected keys.
  struct LoadResult {
    std::vector<std::string> missing;
    std::vector<std::string> unexpected;
  };
  LoadResult load_state_dict(const StateDict& state, bool strict = true);

  void to(DType dtype);  ///< Converts floating-point parameters and buffers in place.
  void to(Device device);
  /// Drops the gradients of all parameters, or fills them with zeros.
  void zero_grad(bool set_to_none = true);
  void requires_grad_(bool on);
  /// Calls fn on every descendant, children first, then on this module.
  void apply(const std::function<void(Module&)>& fn);

  // Registration. Names are not empty and have no dot; registering a name again replaces the value.
  /// From now on the tensor, a floating-point leaf, requires a gradient. An undefined tensor keeps the name's place.
  void register_parameter(const std::string& name, const Tensor& tensor);
  void register_buffer(const std::string& name, const Tensor& tensor);
  /// Refuses a module that contains this one, and nesting deeper than 512.
  template <std::derived_from<Module> M>
  std::shared_ptr<M> register_module(const std::string& name, std::shared_ptr<M> module) {
    attach(name, module);
    return module;
  }
  template <std::derived_from<Module> M>
  std::shared_ptr<M> register_module(const std::string& name, M&& module) {
    return register_module(name, std::make_shared<M>(std::move(module)));
  }
  /// Forgets a parameter, buffer or child; false if there is none of that name.
  bool unregister(const std::string& name);

  /// This module's own tensors and child of a name; undefined or null if there is none. Safe while another thread
  /// registers.
  Tensor parameter(std::string_view name) const;
  Tensor buffer(std::string_view name) const;
  std::shared_ptr<Module> child(std::string_view name) const;
  enum class Slot : unsigned char { kNone, kParameter, kBuffer, kChild };
  Slot slot(std::string_view name) const;                ///< What a name is registered as.
  std::vector<std::string> slot_names(Slot slot) const;  ///< All names of a kind, those without a tensor included.

 protected:
  /// After to(dtype), so that the constructor arguments can follow.
  virtual void dtype_changed(DType) {}
  /// A copy, without the child of that name, so that a running forward does not see changes by another thread.
  std::vector<std::shared_ptr<Module>> children_snapshot(std::string_view except = {}) const;
  /// The same children renamed, reordered or fewer.
  void set_children(NamedModules children);
  bool training_ = true;

 private:
  bool checkpointed_ = false;
  struct Walk;
  void collect(Walk& walk, const std::string& prefix, bool recurse) const;
  void attach(const std::string& name, std::shared_ptr<Module> module);
  void raise_level(int level, const Module* ancestor);
  std::string print(int64_t& budget);

  StateDict parameters_;
  StateDict buffers_;
  NamedModules children_;
  int level_ = 0;             // at least one more than that of every module that holds this one
  mutable std::mutex mutex_;  // guards the three lists against a forward that runs without Python's lock
};

/// A shared module that can be called: what load() returns and Sequential's elements are.
class CNNX_API ModulePtr : public std::shared_ptr<Module> {
 public:
  using std::shared_ptr<Module>::shared_ptr;
  ModulePtr(std::shared_ptr<Module> module) : std::shared_ptr<Module>(std::move(module)) {}
  Tensor operator()(const Tensor& x) const;
};

/// A module whose architecture is its children's.
class CNNX_API Container : public Module {
 public:
  Container() = default;
  explicit Container(NamedModules children);
  bool is_describable() const override { return true; }
};

/// Applies its modules in order. They are named "0", "1", ... as in torch.
class CNNX_API Sequential : public Container {
 public:
  Sequential() = default;
  explicit Sequential(NamedModules modules) : Container(std::move(modules)) {}
  explicit Sequential(std::vector<std::shared_ptr<Module>> modules);
  /// Takes layers by value (moved) or as shared pointers.
  template <class First, class... Rest>
    requires((std::derived_from<std::remove_cvref_t<First>, Module> &&
              !std::same_as<std::remove_cvref_t<First>, Sequential>) ||
             std::convertible_to<First, std::shared_ptr<Module>> || sizeof...(Rest) > 0)
  explicit Sequential(First&& first, Rest&&... rest) {
    push_back(share(std::forward<First>(first)));
    (push_back(share(std::forward<Rest>(rest))), ...);
  }

  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Sequential"; }

  void push_back(std::shared_ptr<Module> module);
  template <std::derived_from<Module> M>
  void push_back(M&& module) {
    push_back(share(std::forward<M>(module)));
  }
  size_t size() const { return named_children().size(); }
  ModulePtr operator[](int64_t index) const;  ///< Negative indices count from the end.
  void replace(int64_t index, std::shared_ptr<Module> module);
  // If the modules are named by their positions, they still are after these two.
  void erase(int64_t index);
  void insert(int64_t index, std::shared_ptr<Module> module);

 private:
  template <class M>
  static std::shared_ptr<Module> share(M&& module) {
    if constexpr (std::convertible_to<M, std::shared_ptr<Module>>) {
      return std::forward<M>(module);
    } else {
      static_assert(std::is_rvalue_reference_v<M&&>,
                    "Sequential takes ownership: pass a temporary, std::move(layer) or a shared_ptr");
      return std::make_shared<std::remove_cvref_t<M>>(std::forward<M>(module));
    }
  }
};

}  // namespace cnnx
