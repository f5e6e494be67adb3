// Copying and pickling modules: made anew from their constructor arguments, then filled with what they hold.
#include <map>

#include "py_module.h"

namespace cnnx::bindings {
namespace {

/// The tensors of a module and its descendants that appear under several names: groups of (path of the module, name).
py::list shared_tensors(const Module& root) {
  std::map<const void*, std::vector<std::pair<std::string, std::string>>> places;
  const auto add = [&](const std::string& path, const Module& module) {
    for (const std::string& name : module.slot_names(Module::Slot::kParameter)) {
      if (const Tensor tensor = module.parameter(name); tensor.defined())
        places[tensor.impl().get()].emplace_back(path, name);
    }
  };
  add("", root);
  for (const auto& [path, module] : root.named_descendants()) add(path, *module);
  py::list groups;
  for (const auto& [tensor, group] : places) {
    if (group.size() > 1) groups.append(group);
  }
  return groups;
}

void share_again(Module& root, const py::list& groups) {
  const auto find = [&](const std::string& path) -> Module& { return path.empty() ? root : *root.get_submodule(path); };
  for (const py::handle item : groups) {
    const auto group = item.cast<std::vector<std::pair<std::string, std::string>>>();
    if (group.empty()) throw py::value_error("[module] the state names an empty group of shared parameters.");
    const Tensor tensor = find(group.at(0).first).parameter(group.at(0).second);
    const bool trains = tensor.requires_grad();
    for (const auto& [path, name] : group) find(path).register_parameter(name, tensor);
    Tensor(tensor).set_requires_grad(trains);
  }
}

py::dict get_state(py::handle self) {
  const Module& module = module_of(self);
  py::list parameters, buffers, children;
  // Not named_parameters(): the empty places of absent ones are part of the state.
  for (const auto& name : module.slot_names(Module::Slot::kParameter))
    parameters.append(py::make_tuple(name, or_none(module.parameter(name))));
  for (const auto& name : module.slot_names(Module::Slot::kBuffer))
    buffers.append(py::make_tuple(name, or_none(module.buffer(name))));
  for (const auto& [name, child] : module.named_children()) children.append(py::make_tuple(name, child));
  const auto attributes = py::reinterpret_steal<py::dict>(PyObject_GenericGetDict(self.ptr(), nullptr));
  return py::dict(py::arg("parameters") = parameters, py::arg("buffers") = buffers, py::arg("children") = children,
                  py::arg("shared") = shared_tensors(module), py::arg("training") = module.training(),
                  py::arg("checkpointed") = module.is_checkpointed(),
                  py::arg("attributes") = py::dict(attributes.attr("copy")()));
}

void set_state(py::handle self, const py::dict& state) {
  Module& module = module_of(self);
  for (const auto slot : {Module::Slot::kParameter, Module::Slot::kBuffer, Module::Slot::kChild}) {
    for (const auto& name : module.slot_names(slot)) module.unregister(name);
  }
  using NamedTensors = std::vector<std::pair<std::string, std::optional<Tensor>>>;
  for (const auto& [name, value] : state["parameters"].cast<NamedTensors>()) {
    Tensor tensor = or_undefined(value);
    const bool trains = tensor.requires_grad();
    module.register_parameter(name, tensor);
    if (tensor.defined()) tensor.set_requires_grad(trains);
  }
  for (const auto& [name, value] : state["buffers"].cast<NamedTensors>())
    module.register_buffer(name, or_undefined(value));
  for (const auto& [name, child] : state["children"].cast<Module::NamedModules>()) module.register_module(name, child);
  share_again(module, state["shared"]);
  module.set_training(state["training"].cast<bool>());
  module.set_checkpointed(state.contains("checkpointed") && state["checkpointed"].cast<bool>());
  const auto attributes = state["attributes"].cast<py::dict>();
  py::reinterpret_steal<py::dict>(PyObject_GenericGetDict(self.ptr(), nullptr)).attr("update")(attributes);
  if (auto* python = dynamic_cast<PythonModule*>(&module); python && attributes.contains("forward"))
    python->mark_customised();
}

/// A module of a class, from the constructor arguments of the library's class beneath it.
py::object rebuild(const py::type& cls, const py::dict& fields) {
  const auto* info = py::detail::get_type_info(reinterpret_cast<PyTypeObject*>(cls.ptr()));
  if (!info || !PyType_IsSubtype(info->type, reinterpret_cast<PyTypeObject*>(py::type::of<Module>().ptr()))) {
    throw py::type_error("[module] expected a Module class.");
  }
  py::object self = cls.attr("__new__")(cls);
  const init::SkipGuard skip;
  const DeviceGuard guard("meta");  // set_state replaces the tensors
  py::handle(reinterpret_cast<PyObject*>(info->type)).attr("__init__")(self, **fields);
  return self;
}

}  // namespace

void bind_module_copies(py::module_& m, py::object cls) {
  m.def("_rebuild_module", rebuild);
  const py::object rebuild_function = m.attr("_rebuild_module");
  const auto define = [&](const char* name, auto fn) {
    // pybind11 takes a function that is called __setstate__ for a constructor; so none is
    cls.attr(name) = py::cpp_function(fn, py::name(std::string_view(name) == "__setstate__" ? "set_state" : name),
                                      py::is_method(cls));
  };
  define("__getstate__", get_state);
  define("__setstate__", set_state);
  define("__reduce_ex__", [rebuild_function](py::handle self, int) {
    return py::make_tuple(rebuild_function, py::make_tuple(py::type::handle_of(self), read_fields(module_of(self))),
                          self.attr("__getstate__")());
  });
}

}  // namespace cnnx::bindings
