// The Python side of modules: overridden methods, and garbage collection through C++ children.
#include "py_module.h"

namespace cnnx::bindings {
namespace {

using py::detail::get_object_handle;
using py::detail::get_type_info;

py::handle object_of(const void* base, const std::type_info& type) {
  return get_object_handle(base, get_type_info(type, /*throw_if_missing=*/true));
}

bool has_own_attribute(py::handle self, const char* name) {
  const auto dict = py::reinterpret_steal<py::dict>(PyObject_GenericGetDict(self.ptr(), nullptr));
  return dict.contains(name);
}

}  // namespace

bool PythonModule::is_customised(const void* base, const std::type_info& type) const {
  const signed char known = customised_.load(std::memory_order_relaxed);
  if (known >= 0) return known != 0;
  const GilAcquire gil;
  const py::handle self = object_of(base, type);
  if (!self) return false;  // still in the constructor
  const bool customised = Py_TYPE(self.ptr()) != get_type_info(type)->type;
  signed char unknown = -1;
  customised_.compare_exchange_strong(unknown, customised ? 1 : 0, std::memory_order_relaxed);
  return customised_.load(std::memory_order_relaxed) != 0;
}

py::object PythonModule::find_override(const void* base, const std::type_info& type, const char* name) {
  const py::handle self = object_of(base, type);
  if (!self) return {};
  PyObject* bound = reinterpret_cast<PyObject*>(get_type_info(type)->type);
  const bool is_own = py::getattr(py::type::handle_of(self), name).is(py::getattr(bound, name));
  if (is_own && !has_own_attribute(self, name)) return {};
  return self.attr(name);
}

std::string PythonModule::class_name(const void* base, const std::type_info& type) {
  const GilAcquire gil;
  const py::handle self = object_of(base, type);
  return self ? py::type::handle_of(self).attr("__name__").cast<std::string>() : "Module";
}

py::object PythonModule::call_forward(const py::object& method, const Tensor& x) {
  try {
    return until_exit([&] { return method(x); });
  } catch (py::error_already_set& error) {
    if (const Call* call = Call::current()) add_place(error, *call);
    throw;
  }
}

Tensor PythonModule::as_tensor(const py::object& result, const std::string& class_name) {
  if (!py::isinstance<Tensor>(result)) {
    throw py::type_error("[module] forward of " + class_name + " must return a Tensor here; got " +
                         py::type::handle_of(result).attr("__name__").cast<std::string>() + ".");
  }
  return result.cast<Tensor>();
}

void add_place(py::error_already_set& error, const Call& call) {
  const PyObject* type = error.type().ptr();  // exactly: others may carry more than text
  if (type != PyExc_ValueError && type != PyExc_IndexError && type != PyExc_RuntimeError) return;
  const auto arguments = py::getattr(error.value(), "args").cast<py::tuple>();
  if (arguments.size() != 1 || !py::isinstance<py::str>(arguments[0])) return;
  const auto message = arguments[0].cast<std::string>();
  if (message.starts_with('[')) error.value().attr("args") = py::make_tuple(call.locate(message));
}

bool is_initialised(py::handle self) {
  return reinterpret_cast<py::detail::instance*>(self.ptr())->get_value_and_holder().holder_constructed();
}

Module& module_of(py::handle self) {
  if (!py::isinstance<Module>(self)) throw py::type_error("[module] expected a Module.");
  if (!is_initialised(self)) {
    throw std::runtime_error("[module] call super().__init__() first in __init__ of " +
                             py::type::handle_of(self).attr("__name__").cast<std::string>() + ".");
  }
  return self.cast<Module&>();
}

// ---- Garbage collection
//
// A parent holds its children in C++, where the cycle collector cannot look. It is told of a child's Python object only
// if this parent's is the one C++ reference that keeps the object alive, so that no reference is counted twice or
// without being the collector's to break.

namespace {

using PythonOwner = py::detail::smart_holder_type_caster_support::shared_ptr_trampoline_self_life_support;

int visit_children(const Module& module, visitproc visit, void* arg) {
  for (const auto& [name, child] : module.named_children()) {
    if (child.use_count() != 2) continue;  // the parent's and this list's
    if (const auto* owner = std::get_deleter<PythonOwner>(child)) {
      Py_VISIT(owner->self);
    } else if (const int stop = visit_children(*child, visit, arg)) {
      return stop;
    }
  }
  return 0;
}

/// The module of a Python object that is the module's only owner, else null.
Module* owned_module(PyObject* self) {
  auto* const instance = reinterpret_cast<py::detail::instance*>(self);
  // The first object of a class is known to the collector before it has room for a module.
  if (!instance->simple_layout && !instance->nonsimple.status) return nullptr;
  auto value = instance->get_value_and_holder();
  if (!value.holder_constructed() || value.holder<py::smart_holder>().vptr.use_count() != 1) return nullptr;
  return py::cast<Module*>(py::handle(self));
}

int traverse(PyObject* self, visitproc visit, void* arg);

/// Whether a subclass written in Python has added the attribute dict: then Python's own traversal, which calls this
/// one, has visited it already. A reference that is visited twice would keep every cycle through it alive.
bool has_visited_dict(PyObject* self) {
  const PyTypeObject* bound = Py_TYPE(self);
  while (bound->tp_base && bound->tp_traverse != traverse) bound = bound->tp_base;
  return Py_TYPE(self)->tp_dictoffset != bound->tp_dictoffset;
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  if (has_visited_dict(self)) {
    Py_VISIT(Py_TYPE(self));
  } else if (const int stop = py::detail::pybind11_traverse(self, visit, arg)) {
    return stop;
  }
  const Module* module = owned_module(self);
  return module ? visit_children(*module, visit, arg) : 0;
}

int clear(PyObject* self) {
  if (Module* module = owned_module(self)) {
    const Module::NamedModules children = module->named_children();
    for (const auto& [name, child] : children) module->unregister(name);
  }
  return py::detail::pybind11_clear(self);
}

}  // namespace

py::custom_type_setup module_type_setup() {
  return py::custom_type_setup([](PyHeapTypeObject* heap_type) {
    heap_type->ht_type.tp_traverse = traverse;
    heap_type->ht_type.tp_clear = clear;
  });
}

}  // namespace cnnx::bindings
