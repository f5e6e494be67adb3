// Modules that live in Python: the trampoline over every layer class, and what Module's bindings share.
//
// Every module that Python makes is a trampoline. So the C++ model keeps the Python object alive, with its attributes,
// and finds the same object again. Only classes written in Python cost a look for overridden methods.
#pragma once

#include <pybind11/trampoline_self_life_support.h>

#include <atomic>

#include "casters.h"

namespace cnnx::bindings {

/// The Python side of a module: which object it is, and what its class overrides.
class PythonModule {
 public:
  virtual ~PythonModule() = default;
  /// An attribute replaces the method of that name for this object alone.
  void mark_customised() { customised_.store(1, std::memory_order_relaxed); }

 protected:
  /// Whether methods may be overridden: the class is written in Python, or the object has a forward of its own.
  bool is_customised(const void* base, const std::type_info& type) const;
  /// The overriding method, or null. Needs the GIL.
  static py::object find_override(const void* base, const std::type_info& type, const char* name);
  static std::string class_name(const void* base, const std::type_info& type);
  /// method(x), with the module's place in the messages of the library's errors.
  static py::object call_forward(const py::object& method, const Tensor& x);
  static Tensor as_tensor(const py::object& result, const std::string& class_name);

 private:
  mutable std::atomic<signed char> customised_{-1};  // -1: not known yet
};

template <class Base>
class PyModule final : public Base, public PythonModule, public py::trampoline_self_life_support {
 public:
  using Base::Base;
  using Base::forward;

  Tensor forward(const Tensor& x) override {
    if (customised()) {
      const GilAcquire gil;
      if (const py::object method = override_of("forward")) return as_tensor(call_forward(method, x), type_name());
    }
    return Base::forward(x);
  }

  void train(bool on) override {
    if (customised()) {
      const GilAcquire gil;
      if (const py::object method = override_of("train")) {
        method(on);
        return;
      }
    }
    Base::train(on);
  }

  std::string extra_repr() override {
    if (customised()) {
      const GilAcquire gil;
      if (const py::object method = override_of("extra_repr")) return method().template cast<std::string>();
    }
    return Base::extra_repr();
  }

  std::string type_name() const override { return customised() ? class_name(base(), typeid(Base)) : Base::type_name(); }
  const std::type_info& layer_type() const override { return customised() ? typeid(*this) : typeid(Base); }
  bool is_describable() const override { return !customised() && Base::is_describable(); }

 private:
  const void* base() const { return static_cast<const Base*>(this); }
  bool customised() const { return is_customised(base(), typeid(Base)); }
  py::object override_of(const char* name) const { return find_override(base(), typeid(Base), name); }
};

/// Whether Python's method resolution has already chosen this method: C++'s must not look again.
inline bool is_python(const Module& module) { return dynamic_cast<const PythonModule*>(&module) != nullptr; }

/// Adds the place of a call to the message of the library's own errors.
void add_place(py::error_already_set& error, const Call& call);

/// The module, or an error if __init__ has not run.
Module& module_of(py::handle self);
bool is_initialised(py::handle self);

/// For every bound module class: lets Python's cycle collector see through the C++ children.
py::custom_type_setup module_type_setup();

/// Constructor arguments by name.
py::dict read_fields(Module& module);
/// One of them, null if there is none of that name; and assignment, false if there is none.
py::object read_field(Module& module, const std::string& name);
bool write_field(Module& module, const std::string& name, py::handle value);

void bind_module_attributes(py::object cls);
void bind_module_copies(py::module_& m, py::object cls);

}  // namespace cnnx::bindings
