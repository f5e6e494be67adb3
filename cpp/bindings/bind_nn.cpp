// Module and Parameter.
#include <pybind11/functional.h>

#include <unordered_set>

#include "module_arguments.h"

namespace cnnx::bindings {
namespace {

// ---- Module

/// The tensors among arguments or results.
std::vector<Tensor> tensors_in(py::handle values) {
  std::vector<Tensor> found;
  if (py::isinstance<Tensor>(values)) {
    found.push_back(values.cast<Tensor>());
  } else if (py::isinstance<py::tuple>(values) || py::isinstance<py::list>(values)) {
    for (const py::handle value : values) {
      if (py::isinstance<Tensor>(value)) found.push_back(value.cast<Tensor>());
    }
  }
  return found;
}

py::object call_checkpointed(py::handle self, const py::args& args, const py::kwargs& kwargs) {
  if (args.size() != 1 || !kwargs.empty() || !py::isinstance<Tensor>(args[0]))
    throw py::type_error("[checkpoint] a checkpointed module takes one tensor; got other arguments.");
  const ModulePtr module(self.cast<std::shared_ptr<Module>>());
  const auto x = args[0].cast<Tensor>();
  Tensor y;
  {
    const GilRelease release;
    y = module(x);
  }
  return py::cast(y);
}

py::object call(py::handle self, const py::args& args, const py::kwargs& kwargs) {
  const Module& module = module_of(self);
  if (module.is_checkpointed()) return call_checkpointed(self, args, kwargs);
  Call frame(module);
  std::vector<Tensor> inputs;
  const auto set_inputs = [&] {
    inputs = tensors_in(args);
    frame.set_inputs(inputs);
  };
  try {
    if (Call::is_watched()) {
      set_inputs();
      frame.enter();
    }
    py::object result = until_exit([&]() -> py::object { return self.attr("forward")(*args, **kwargs); });
    if (Call::is_watched()) frame.leave(tensors_in(result));
    return result;
  } catch (py::error_already_set& error) {
    set_inputs();
    add_place(error, frame);
    throw;
  } catch (const std::runtime_error& error) {  // an observer's
    if (typeid(error) != typeid(std::runtime_error)) throw;
    throw std::runtime_error(frame.locate(error.what()));
  }
}

py::object missing_forward(py::handle self, const py::args& args, const py::kwargs& kwargs) {
  Module& module = module_of(self);
  if (!is_python(module) && args.size() == 1 && kwargs.empty() && py::isinstance<Tensor>(args[0])) {
    return py::cast(module.forward(args[0].cast<Tensor>()));  // a class of a C++ program
  }
  PyErr_SetString(PyExc_NotImplementedError,
                  ("[module] " + type_of(self) + " has no forward. Define forward(self, ...) in the class.").c_str());
  throw py::error_already_set();
}

/// (name, module) of self and all descendants; the objects themselves, which C++ may not own.
py::list named_modules(py::handle self, const std::string& prefix) {
  py::list found;
  found.append(py::make_tuple(prefix, self));
  for (const auto& [name, module] : module_of(self).named_descendants(prefix))
    found.append(py::make_tuple(name, module));
  return found;
}

void apply_to(py::handle self, const py::function& fn, std::unordered_set<const Module*>& seen) {
  const Module::NamedModules children = module_of(self).named_children();
  for (const auto& [name, child] : children) {
    if (seen.insert(child.get()).second) apply_to(py::cast(child), fn, seen);
  }
  until_exit([&] { fn(self); });
}

void convert(Module& module, const py::object& target) {
  if (target.is_none()) return;
  const std::variant<DType, Device> wanted = load_target(target);
  const GilRelease nogil;
  std::visit([&](auto dtype_or_device) { module.to(dtype_or_device); }, wanted);
}

py::object to(py::object self, const py::object& target, const py::object& dtype, const py::object& device) {
  Module& module = module_of(self);
  convert(module, device);
  convert(module, dtype);
  convert(module, target);
  return self;
}

Module::LoadResult load_state_dict(Module& module, const py::object& state, bool strict) {
  if (!py::hasattr(state, "items"))
    throw py::type_error("[load_state_dict] expected a mapping of names to tensors; got " + type_of(state) + ".");
  StateDict tensors;
  for (const py::handle item : state.attr("items")()) {
    const auto pair = item.cast<std::pair<py::object, py::object>>();
    if (!py::isinstance<py::str>(pair.first))
      throw py::type_error("[load_state_dict] keys must be strings; got " + py::repr(pair.first).cast<std::string>() +
                           ".");
    tensors.emplace_back(pair.first.cast<std::string>(), to_tensor(pair.second));
  }
  return without_gil([&] { return module.load_state_dict(tensors, strict); });
}

py::dict state_dict(const Module& module) {
  py::dict state;
  for (const auto& [name, tensor] : module.state_dict()) state[py::str(name)] = tensor;
  return state;
}

void bind_load_result(py::module_& m) {
  using Result = Module::LoadResult;
  py::class_<Result>(m, "LoadResult", "What load_state_dict found: the keys that only the model or only the state has.")
      .def_readonly("missing_keys", &Result::missing)
      .def_readonly("unexpected_keys", &Result::unexpected)
      .def("__repr__", [](const Result& result) {
        if (result.missing.empty() && result.unexpected.empty()) return py::str("<All keys matched successfully>");
        return py::str("LoadResult(missing_keys={}, unexpected_keys={})").format(result.missing, result.unexpected);
      });
}

using ModuleClass = py::class_<Module, PyModule<Module>, py::smart_holder>;

constexpr const char* kModuleDoc = R"(Base of all layers and models.

A subclass makes its layers in ``__init__``, after ``super().__init__()``, and applies them in ``forward``. Assigning a
module to an attribute registers it as a child; assigning a :func:`Parameter`, or any leaf tensor that requires a gradient,
registers a parameter; anything else is an ordinary attribute.

Example:
    >>> import cnnx
    >>> class Net(cnnx.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.conv = cnnx.Conv2d(1, 4, 3, padding=1)
    ...         self.head = cnnx.Linear(4 * 64, 10)
    ...     def forward(self, x):
    ...         return self.head(cnnx.functional.relu(self.conv(x)).flatten(1))
    >>> net = Net()
    >>> net(cnnx.randn(2, 1, 8, 8)).shape
    (2, 10)
    >>> [name for name, parameter in net.named_parameters()]
    ['conv.weight', 'conv.bias', 'head.weight', 'head.bias']
)";

void bind_walks(ModuleClass& cls) {
  cls.def(
         "parameters",
         [](const Module& self, bool recurse) {
           py::list tensors;
           for (const auto& [name, tensor] : self.named_parameters("", recurse)) tensors.append(tensor);
           return iterate<Tensor>(tensors);
         },
         py::arg("recurse") = true,
         "Iterates over the parameters of this module and its descendants; a shared one comes once.")
      .def(
          "named_parameters",
          [](const Module& self, const std::string& prefix, bool recurse, bool remove_duplicate) {
            return iterate<NamedTensor>(py::cast(self.named_parameters(prefix, recurse, remove_duplicate)));
          },
          py::arg("prefix") = "", py::arg("recurse") = true, py::arg("remove_duplicate") = true,
          "Iterates over (dotted name, parameter); a shared one comes once, or, without remove_duplicate, under each "
          "of "
          "its names.")
      .def(
          "buffers",
          [](const Module& self, bool recurse) {
            py::list tensors;
            for (const auto& [name, tensor] : self.named_buffers("", recurse)) tensors.append(tensor);
            return iterate<Tensor>(tensors);
          },
          py::arg("recurse") = true,
          "Iterates over the buffers: tensors that are saved but not trained, as running means.")
      .def(
          "named_buffers",
          [](const Module& self, const std::string& prefix, bool recurse) {
            return iterate<NamedTensor>(py::cast(self.named_buffers(prefix, recurse)));
          },
          py::arg("prefix") = "", py::arg("recurse") = true, "Iterates over (dotted name, buffer).")
      .def(
          "children", [](const Module& self) { return iterate<Module>(seconds(py::cast(self.named_children()))); },
          "Iterates over the modules directly inside this one.")
      .def(
          "named_children", [](const Module& self) { return iterate<NamedModule>(py::cast(self.named_children())); },
          "Iterates over (name, module) of the modules directly inside this one.")
      .def(
          "modules", [](py::handle self) { return iterate<Module>(seconds(named_modules(self, ""))); },
          "Iterates over this module and all its descendants; a shared one comes once.")
      .def(
          "named_modules",
          [](py::handle self, const std::string& prefix) { return iterate<NamedModule>(named_modules(self, prefix)); },
          py::arg("prefix") = "", "Iterates over (dotted name, module), this module first under the prefix itself.")
      .def(
          "get_submodule",
          [](py::object self, const std::string& target) {
            return target.empty() ? self : py::cast(module_of(self).get_submodule(target));
          },
          py::arg("target"), R"(The descendant of a dotted name.

Args:
    target: a name such as "features.0"; "" is the module itself.

Raises:
    ValueError: if there is no such module.
)");
}

void bind_registration(ModuleClass& cls) {
  cls.def(
         "register_parameter",
         [](Module& self, const std::string& name, const std::optional<Tensor>& param) {
           self.register_parameter(name, or_undefined(param));
         },
         py::arg("name"), py::arg("param").none(true),
         "Registers a parameter; from now on it requires a gradient. None keeps the name's place.")
      .def(
          "register_buffer",
          [](Module& self, const std::string& name, const std::optional<Tensor>& tensor) {
            self.register_buffer(name, or_undefined(tensor));
          },
          py::arg("name"), py::arg("tensor").none(true),
          "Registers a tensor that is saved and moved with the module but not trained.");
  for (const char* method : {"add_module", "register_module"}) {
    cls.def(
        method,
        [](Module& self, const std::string& name, py::handle module) {
          self.register_module(name, to_module("add_module", module));
        },
        py::arg("name"), py::arg("module"), "Registers a child, as assigning it to an attribute does.");
  }
}

void bind_state(ModuleClass& cls) {
  cls.def("state_dict", state_dict, R"(Parameters and buffers by dotted name.

Returns:
    A dict of tensors that share the module's memory, without gradient records.

Example:
    >>> import cnnx
    >>> list(cnnx.Sequential(cnnx.Linear(2, 3), cnnx.ReLU(), cnnx.Linear(3, 1, bias=False)).state_dict())
    ['0.weight', '0.bias', '2.weight']
)")
      .def("load_state_dict", load_state_dict, py::arg("state_dict"), py::arg("strict") = true,
           R"(Copies values into the parameters and buffers.

Args:
    state_dict: a mapping of dotted names to tensors, or to arrays of any library.
    strict: whether the names must be exactly the model's. Shapes must always agree; dtypes are converted.

Returns:
    An object with ``missing_keys`` and ``unexpected_keys``.

Raises:
    ValueError: names all missing, unexpected and mis-shaped keys; nothing has changed then.
)")
      .def("to", to, py::arg("target") = py::none(), py::kw_only(), py::arg("dtype") = py::none(),
           py::arg("device") = py::none(),
           R"(Converts all floating-point parameters and buffers to a dtype, or moves them to a device, in place.

Args:
    target: a dtype or a device, or the name of one, such as "float64" or "cpu".
    dtype: the same, by keyword.
    device: the same, by keyword.

Returns:
    The module itself.
)")
      .def("zero_grad", &Module::zero_grad, py::arg("set_to_none") = true,
           "Drops the gradients of all parameters: they become None; or zeros, with set_to_none=False.")
      .def(
          "requires_grad_",
          [](py::object self, bool on) {
            module_of(self).requires_grad_(on);
            return self;
          },
          py::arg("requires_grad") = true, "Freezes (False) or trains all parameters. Returns the module itself.");
}

void bind_module(py::module_& m) {
  ModuleClass cls(m, "Module", kModuleDoc, py::dynamic_attr(), module_type_setup());
  cls.def(py::init([] { return std::make_unique<PyModule<Module>>(); }))
      .def("__call__", call, "Calls forward with the same arguments.")
      .def("forward", missing_forward, "To be defined by the subclass, with any arguments and any result.")
      .def(
          "train",
          [](py::object self, bool mode) {
            Module& module = module_of(self);
            is_python(module) ? module.Module::train(mode) : module.train(mode);
            return self;
          },
          py::arg("mode") = true,
          "Sets training mode for this module and its descendants: dropout and batch norm differ. Returns the module.")
      .def(
          "eval", [](py::handle self) { return py::object(self.attr("train")(false)); }, "The same as train(False).")
      .def_property("checkpointed", &Module::is_checkpointed, &Module::set_checkpointed,
                    "Whether the backward pass computes this module's activations again; see cnnx.checkpoint.")
      .def_property("training", &Module::training,
                    setter<Module>("training", [](Module& self, bool on) { self.set_training(on); }),
                    "Whether this module is in training mode.")
      .def(
          "apply",
          [](py::object self, const py::typing::Callable<py::object(Module)>& fn) {
            std::unordered_set<const Module*> seen;
            apply_to(self, fn, seen);
            return self;
          },
          py::arg("fn"),
          "Calls fn(module) for every descendant, children first, then for this module, which it returns.")
      .def(
          "extra_repr", [](Module& self) { return is_python(self) ? self.Module::extra_repr() : self.extra_repr(); },
          "What repr() shows of the constructor arguments.")
      .def("__repr__", &Module::repr);
  bind_walks(cls);
  bind_registration(cls);
  bind_state(cls);
  bind_module_attributes(cls);
  bind_module_copies(m, cls);
  m.def(
      "Parameter",
      [](const py::object& data) {
        const py::object value =
            py::isinstance<Tensor>(data) ? data : py::object(py::module_::import("cnnx._core").attr("tensor")(data));
        return value.cast<Tensor>().detach().set_requires_grad(true);
      },
      py::arg("data"),
      R"(A leaf tensor that requires a gradient, and so becomes a parameter of the module it is assigned to.

Args:
    data: a floating-point tensor, whose memory is shared, or numbers.

Example:
    >>> import cnnx
    >>> layer = cnnx.Linear(2, 2)
    >>> layer.weight = cnnx.Parameter(cnnx.zeros(2, 2))
    >>> layer.weight.sum().item()
    0.0
)");
}

}  // namespace

void bind_nn(py::module_& m) {
  bind_load_result(m);
  bind_module(m);
  bind_containers(m);
}

}  // namespace cnnx::bindings
