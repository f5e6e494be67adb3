// Attribute access on modules: `self.conv = Conv2d(...)` registers a child, `layer.weight` and `layer.stride` read C++.
#include "py_module.h"

namespace cnnx::bindings {
namespace {

/// Calls fn(name, value) for a field of any type.
template <class F>
class EachField : public FieldVisitor {
 public:
  explicit EachField(F fn) : fn_(std::move(fn)) {}
  void field(const char* name, bool& value) override { fn_(name, value); }
  void field(const char* name, int64_t& value) override { fn_(name, value); }
  void field(const char* name, double& value) override { fn_(name, value); }
  void field(const char* name, std::string& value) override { fn_(name, value); }
  void field(const char* name, Pair& value) override { fn_(name, value); }
  void field(const char* name, std::optional<Pair>& value) override { fn_(name, value); }
  void field(const char* name, std::optional<Scale>& value) override { fn_(name, value); }
  void field(const char* name, Padding& value) override { fn_(name, value); }
  void field(const char* name, Fit& value) override { fn_(name, value); }
  void field(const char* name, DType& value) override { fn_(name, value); }
  void field(const char* name, Shape& value) override { fn_(name, value); }

 private:
  F fn_;
};

template <class F>
void each_field(Module& module, F fn) {
  EachField<F> visitor(std::move(fn));
  module.visit_fields(visitor);
}

std::string type_of(py::handle object) { return py::type::handle_of(object).attr("__name__").cast<std::string>(); }

/// The name in UTF-8. Raises UnicodeEncodeError for lone surrogates.
std::string text_of(const py::str& name) {
  Py_ssize_t length = 0;
  const char* text = PyUnicode_AsUTF8AndSize(name.ptr(), &length);
  if (!text) throw py::error_already_set();
  return {text, static_cast<size_t>(length)};
}

void set_plain(py::handle self, py::handle name, PyObject* value) {
  if (PyObject_GenericSetAttr(self.ptr(), name.ptr(), value) != 0) throw py::error_already_set();
}

void forget_plain(py::handle self, const py::str& name) {
  const auto dict = py::reinterpret_steal<py::dict>(PyObject_GenericGetDict(self.ptr(), nullptr));
  if (dict.contains(name) && PyDict_DelItem(dict.ptr(), name.ptr()) != 0) throw py::error_already_set();
}

/// Makes room for a registration under the name. False if the class has a property of that name, which takes the value.
bool claim_name(py::handle self, Module& module, const std::string& name, Module::Slot wanted) {
  const py::str key(name);
  if (PyObject* found = _PyType_Lookup(Py_TYPE(self.ptr()), key.ptr())) {
    if (Py_TYPE(found)->tp_descr_set) return false;
    throw py::value_error("[module] the class " + type_of(self) + " has an attribute \"" + name +
                          "\", which would hide the registered one. Choose another name.");
  }
  const Module::Slot slot = module.slot(name);
  if (slot != Module::Slot::kNone && slot != wanted) module.unregister(name);
  forget_plain(self, key);
  return true;
}

/// Assigns to a name that is registered already something that does not register by itself. False: assign as usual.
bool assign_registered(py::handle self, Module& module, const std::string& name, py::handle value) {
  const auto refuse = [&](const char* slot, const char* expected) {
    throw py::type_error("[module] \"" + name + "\" is a " + slot + " of this " + type_of(self) + " and takes " +
                         expected + " or None; got " + type_of(value) +
                         ". Delete it first to use the name for something else.");
  };
  switch (module.slot(name)) {
    case Module::Slot::kParameter: {
      const Tensor current = module.parameter(name);
      const bool is_frozen = current.defined() && !current.requires_grad();
      const bool fits = is_frozen && py::isinstance<Tensor>(value) && value.cast<Tensor>().is_leaf();
      if (!value.is_none() && !fits) refuse("parameter", "a Parameter");
      module.register_parameter(name, value.is_none() ? Tensor() : value.cast<Tensor>());
      if (fits) module.parameter(name).set_requires_grad(false);
      return true;
    }
    case Module::Slot::kBuffer:
      if (!value.is_none() && !py::isinstance<Tensor>(value)) refuse("buffer", "a Tensor");
      module.register_buffer(name, value.is_none() ? Tensor() : value.cast<Tensor>());
      return true;
    case Module::Slot::kChild:
      if (!value.is_none()) refuse("child module", "a Module");
      module.unregister(name);
      return false;
    default: return false;
  }
}

void set_attribute(py::handle self, const py::str& key, py::handle value) {
  const bool is_module = py::isinstance<Module>(value);
  const bool is_tensor = !is_module && py::isinstance<Tensor>(value);
  if (!is_initialised(self)) {
    if (is_module || is_tensor) module_of(self);  // raises
    return set_plain(self, key, value.ptr());
  }
  Module& module = module_of(self);
  const std::string name = text_of(key);
  if (is_module) {
    module_of(value);
    if (!claim_name(self, module, name, Module::Slot::kChild)) return set_plain(self, key, value.ptr());
    module.register_module(name, value.cast<std::shared_ptr<Module>>());
    return;
  }
  if (is_tensor) {
    const auto tensor = value.cast<Tensor>();
    if (tensor.requires_grad() && tensor.is_leaf() && module.slot(name) != Module::Slot::kBuffer) {
      if (!claim_name(self, module, name, Module::Slot::kParameter)) return set_plain(self, key, value.ptr());
      module.register_parameter(name, tensor);
      return;
    }
  }
  if (assign_registered(self, module, name, value) || write_field(module, name, value)) return;
  if (name == "forward" || name == "train" || name == "extra_repr") {
    if (auto* python = dynamic_cast<PythonModule*>(&module)) python->mark_customised();
  }
  set_plain(self, key, value.ptr());
}

py::object get_attribute(py::handle self, const py::str& key) {
  const std::string name = text_of(key);
  if (is_initialised(self)) {
    Module& module = module_of(self);
    switch (module.slot(name)) {
      case Module::Slot::kParameter: return or_none(module.parameter(name));
      case Module::Slot::kBuffer: return or_none(module.buffer(name));
      case Module::Slot::kChild: return py::cast(module.child(name));
      default: break;
    }
    if (py::object value = read_field(module, name)) return value;
  }
  std::string message = "'" + type_of(self) + "' object has no attribute '" + name + "'";
  if (!is_initialised(self)) message += ": super().__init__() has not been called";
  const py::object error = py::handle(PyExc_AttributeError)(message, py::arg("name") = key, py::arg("obj") = self);
  PyErr_SetObject(PyExc_AttributeError, error.ptr());
  throw py::error_already_set();
}

void delete_attribute(py::handle self, const py::str& key) {
  if (is_initialised(self) && module_of(self).unregister(text_of(key))) return;
  set_plain(self, key, nullptr);
}

py::list attribute_names(py::handle self) {
  py::list names(py::module_::import("builtins").attr("object").attr("__dir__")(self));
  if (!is_initialised(self)) return names;
  Module& module = module_of(self);
  for (const auto& [name, tensor] : module.named_parameters("", false)) names.append(name);
  for (const auto& [name, tensor] : module.named_buffers("", false)) names.append(name);
  for (const auto& [name, child] : module.named_children()) names.append(name);
  each_field(module, [&](const char* name, const auto&) { names.append(name); });
  return names;
}

}  // namespace

py::dict read_fields(Module& module) {
  py::dict fields;
  each_field(module, [&](const char* name, const auto& value) { fields[name] = py::cast(value); });
  return fields;
}

py::object read_field(Module& module, const std::string& name) {
  py::object result;
  each_field(module, [&](const char* field, const auto& value) {
    if (field == name) result = py::cast(value);
  });
  return result;
}

bool write_field(Module& module, const std::string& name, py::handle value) {
  bool found = false;
  each_field(module, [&](const char* field, auto& target) {
    using T = std::remove_reference_t<decltype(target)>;
    if (field != name) return;
    found = true;
    if constexpr (std::same_as<T, DType>) {
      throw py::attribute_error("[module] dtype cannot be set. Convert the parameters with .to(\"float64\").");
    } else {
      try {
        target = value.cast<T>();
      } catch (const py::cast_error&) {
        throw py::type_error("[module] " + name + " of " + module.type_name() + " cannot be set to " + type_of(value) +
                             " " + py::repr(value).cast<std::string>() + ".");
      }
    }
  });
  return found;
}

void bind_module_attributes(py::object cls) {
  const auto define = [&](const char* name, auto fn, auto... extra) {
    cls.attr(name) = py::cpp_function(fn, py::name(name), py::is_method(cls), extra...);
  };
  define("__setattr__", set_attribute, py::arg("name"), py::arg("value"));
  define("__getattr__", get_attribute, py::arg("name"));
  define("__delattr__", delete_attribute, py::arg("name"));
  define("__dir__", attribute_names);
}

}  // namespace cnnx::bindings
