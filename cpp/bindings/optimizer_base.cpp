// Parameter groups, which behave like torch's list of dicts, and what all optimisers have.
#include <pybind11/typing.h>

#include "cnnx/graph.h"
#include "optimizer_class.h"

namespace cnnx::bindings {
namespace {

using namespace cnnx::optim;

/// The options that Python sees as booleans.
bool is_flag(const std::string& name) { return name == "nesterov" || name == "centered"; }

/// Option values as Python has them; beta1 and beta2 are the pair "betas".
py::object get_option(const ParamGroup& group, const std::string& name) {
  if (name == "params") return py::cast(group.params);
  if (name == "betas" && group.options.count("beta1"))
    return py::make_tuple(group.options.at("beta1"), group.options.at("beta2"));
  const auto found = group.options.find(name);
  if (found == group.options.end() || name.starts_with("beta")) throw py::key_error(name);
  return is_flag(name) ? py::object(py::bool_(found->second != 0)) : py::object(py::float_(found->second));
}

/// The object stays alive as long as the pointer, whoever drops that.
std::shared_ptr<void> held(const py::object& object) {
  return {new py::object(object), [](void* pointer) {
            if (!Py_IsInitialized()) return;
            const GilAcquire gil;
            delete static_cast<py::object*>(pointer);
          }};
}

/// While one lives, this thread records operations, under no_grad, too.
struct RecordingGuard {
  RecordingGuard() { set_grad_enabled(true); }
  ~RecordingGuard() { set_grad_enabled(was_recording); }
  const bool was_recording = is_grad_enabled();
};

/// The result of a step's closure, None without one.
py::object loss_of(const py::object& closure) {
  if (closure.is_none()) return closure;
  const RecordingGuard recording;
  return until_exit(closure);
}

/// What a captured function sets, its runs would not set again.
void refuse_in_capture() {
  if (is_capturing()) {
    throw std::runtime_error(
        "[optim] a captured function cannot set options: it would do so in the capture alone. Call schedule.step() "
        "and set rates outside of it.");
  }
}

void set_option(std::map<std::string, double>& options, const std::string& name, const py::handle& value) {
  if (name == "beta1" || name == "beta2")
    throw py::value_error("[optim] unknown option \"" + name + "\". The pair is called \"betas\".");
  try {
    if (name == "betas") {
      std::tie(options["beta1"], options["beta2"]) = value.cast<std::pair<double, double>>();
    } else {
      options[name] = value.cast<double>();
    }
  } catch (const py::cast_error&) {
    throw py::type_error("[optim] " + name + " must be " + (name == "betas" ? "a pair of numbers" : "a number") +
                         "; got " + py::repr(value).cast<std::string>() + ".");
  }
}

std::vector<std::string> keys(const ParamGroup& group) {
  std::vector<std::string> names{"params"};
  for (const auto& [name, value] : group.options) {
    if (name == "beta1") names.emplace_back("betas");
    if (!name.starts_with("beta")) names.push_back(name);
  }
  return names;
}

}  // namespace

std::unique_lock<std::mutex> lock(Optimizer& optimizer) {
  const GilRelease nogil;
  return std::unique_lock(optimizer.mutex());
}

std::vector<ParamGroup> groups_of(const py::object& params) {
  if (py::isinstance<Tensor>(params))
    throw py::type_error("[optim] expected an iterable of parameters; got one tensor. Pass model.parameters().");
  if (!py::isinstance<py::iterable>(params))
    throw py::type_error("[optim] expected an iterable of parameters; got " + py::repr(params).cast<std::string>() +
                         ".");
  std::vector<ParamGroup> groups;
  ParamGroup plain;
  for (const py::handle item : params) {
    if (py::isinstance<py::dict>(item)) {
      ParamGroup group;
      for (const auto& [key, value] : py::reinterpret_borrow<py::dict>(item)) {
        const auto name = key.cast<std::string>();
        if (name != "params") {
          set_option(group.options, name, value);
        } else if (py::isinstance<Tensor>(value)) {
          group.params = {value.cast<Tensor>()};
        } else {
          for (const py::handle param : value) group.params.push_back(param.cast<Tensor>());
        }
      }
      if (!item.contains("params"))
        throw py::value_error("[optim] a group needs \"params\"; got " + py::repr(item).cast<std::string>() + ".");
      groups.push_back(std::move(group));
    } else if (py::isinstance<Tensor>(item)) {
      plain.params.push_back(item.cast<Tensor>());
    } else {
      throw py::type_error("[optim] expected parameters or dicts with \"params\"; got " +
                           py::repr(item).cast<std::string>() + ".");
    }
  }
  if (!plain.params.empty()) groups.push_back(std::move(plain));
  return groups;
}

namespace {

/// All entries but the parameters.
py::dict options_of(const ParamGroup& group) {
  py::dict options;
  for (const std::string& name : keys(group)) {
    if (name != "params") options[py::str(name)] = get_option(group, name);
  }
  return options;
}

py::dict state_dict(Optimizer& optimizer) {
  const auto locked = lock(optimizer);
  py::dict state;
  int64_t index = 0;
  for (const auto& entries : optimizer.state()) {
    py::dict tensors;
    for (const auto& [name, tensor] : entries) tensors[py::str(name)] = tensor;
    if (!entries.empty()) state[py::int_(index)] = tensors;
    ++index;
  }
  py::list groups;
  index = 0;
  for (const ParamGroup& group : optimizer.param_groups()) {
    py::dict entry = options_of(group);
    py::list numbers;
    for (size_t i = 0; i < group.params.size(); ++i) numbers.append(index++);
    entry["params"] = numbers;
    groups.append(entry);
  }
  py::dict result;
  result["state"] = state;
  result["param_groups"] = groups;
  return result;
}

/// Whether torch's optimizer of this name takes other steps where an option is set.
bool differs(const Optimizer& optimizer, const std::string& option) {
  return option == "amsgrad" || option == "maximize" ||
         (option == "decoupled_weight_decay" && optimizer.type_name() == "Adam");
}

void load_state_dict(Optimizer& optimizer, const py::dict& dict) {
  if (!dict.contains("state") || !dict.contains("param_groups")) {
    throw py::value_error("[optim] expected a dict with \"state\" and \"param_groups\", as state_dict() returns it.");
  }
  const auto given = dict["param_groups"].cast<std::vector<py::dict>>();
  std::deque<ParamGroup>& groups = optimizer.param_groups();
  std::vector<ParamGroup> changed;
  if (given.size() != groups.size()) {
    throw py::value_error("[optim] the state has " + std::to_string(given.size()) +
                          " parameter groups; the optimizer has " + std::to_string(groups.size()) + ".");
  }
  for (size_t i = 0; i < groups.size(); ++i) {
    if (!given[i].contains("params") || py::len(given[i]["params"]) != groups[i].params.size()) {
      throw py::value_error("[optim] group " + std::to_string(i) +
                            " of the state has another number of parameters than the optimizer's.");
    }
    changed.push_back({{}, groups[i].options});
    auto& options = changed.back().options;
    for (const auto& [name, value] : given[i].cast<std::map<std::string, py::object>>()) {
      const bool known = options.count(name == "betas" ? "beta1" : name) > 0;
      if (known) set_option(options, name, value);
      if (!known && differs(optimizer, name) && py::bool_(value))
        throw py::value_error("[optim] the state is of an optimizer with " + name + "=True, which " +
                              optimizer.type_name() + " does not have.");
    }
    changed.back().check_options("optim");
  }
  std::vector<Optimizer::State> state(optimizer.state().size());
  for (const auto& [index, value] : dict["state"].cast<std::map<int64_t, py::object>>()) {
    if (index < 0 || index >= static_cast<int64_t>(state.size()))
      throw py::value_error("[optim] the state names a parameter " + std::to_string(index) + " that does not exist.");
    if (!py::isinstance<py::dict>(value))
      throw py::value_error("[optim] the state of parameter " + std::to_string(index) + " must be a dict of tensors.");
    for (const auto& [name, tensor] : value.cast<std::map<std::string, py::object>>()) {
      if (tensor.is_none()) continue;  // torch's SGD without momentum
      state[static_cast<size_t>(index)][name] = to_tensor(tensor);
    }
  }
  const auto locked = lock(optimizer);
  if (groups.size() != changed.size()) {
    throw std::runtime_error("[optim] parameter groups were added while the state was loaded. Load it again.");
  }
  optimizer.set_state(std::move(state));
  for (size_t i = 0; i < changed.size(); ++i) {
    for (const auto& [name, value] : changed[i].options) groups[i].options[name] = value;
  }
}

/// An optimizer as the constructor of the library's class beneath `cls` makes it, with the state that it had.
py::object rebuild(const py::type& cls, const py::list& groups, const py::dict& defaults, const py::dict& state) {
  const auto* info = py::detail::get_type_info(reinterpret_cast<PyTypeObject*>(cls.ptr()));
  const py::type base = py::type::of<Optimizer>();
  if (!info || !PyType_IsSubtype(info->type, reinterpret_cast<PyTypeObject*>(base.ptr())))
    throw py::type_error("[optim] expected an Optimizer class.");
  py::object self = cls.attr("__new__")(cls);
  py::handle(reinterpret_cast<PyObject*>(info->type)).attr("__init__")(self, groups, **defaults);
  load_state_dict(self.cast<Optimizer&>(), state);
  return self;
}

/// For copy and pickle. Parameters go along: those of a model stay its own if both are in one object.
py::tuple reduce(const py::object& self, const py::object& rebuild_function) {
  auto& optimizer = self.cast<Optimizer&>();
  py::list groups;
  for (const ParamGroup& group : optimizer.param_groups()) {
    py::dict entry = options_of(group);
    entry["params"] = group.params;
    groups.append(entry);
  }
  const py::dict defaults = options_of({{}, optimizer.defaults()});
  return py::make_tuple(rebuild_function,
                        py::make_tuple(py::type::handle_of(self), groups, defaults, state_dict(optimizer)),
                        py::getattr(self, "__dict__", py::none()));
}

std::string repr(Optimizer& optimizer) {
  std::string text = optimizer.type_name() + " (\n";
  int index = 0;
  for (const ParamGroup& group : optimizer.param_groups()) {
    text += "Parameter Group " + std::to_string(index++) + "\n";
    for (const std::string& name : keys(group)) {
      if (name != "params") text += "    " + name + ": " + py::str(get_option(group, name)).cast<std::string>() + "\n";
    }
  }
  return text + ")";
}

}  // namespace

void bind_optimizer_base(py::module_& m) {
  py::class_<ParamGroup>(m, "ParamGroup",
                         R"(Parameters that share hyperparameters; indexed like a dict by "params", "lr", ...

Example:
    >>> import cnnx
    >>> optimizer = cnnx.optim.SGD(cnnx.Linear(2, 2).parameters(), lr=0.1)
    >>> optimizer.param_groups[0]["lr"] = 0.01
    >>> optimizer.param_groups[0]["lr"]
    0.01
)")
      .def("__getitem__", get_option, py::arg("name"))
      .def(
          "__setitem__",
          [](ParamGroup& group, const std::string& name, const py::object& value) {
            get_option(group, name);  // refuses unknown names
            if (name == "params") throw py::value_error("[optim] parameters are added with add_param_group.");
            refuse_in_capture();
            ParamGroup changed{{}, group.options};
            set_option(changed.options, name, value);
            changed.check_options("optim");
            for (const auto& [option, number] : changed.options) group.options[option] = number;
          },
          py::arg("name"), py::arg("value"))
      .def("__contains__",
           [](const ParamGroup& group, const std::string& name) {
             const auto names = keys(group);
             return std::find(names.begin(), names.end(), name) != names.end();
           })
      .def("__iter__",
           [](const ParamGroup& group) { return py::typing::Iterator<py::str>(py::iter(py::cast(keys(group)))); })
      .def("__len__", [](const ParamGroup& group) { return keys(group).size(); })
      .def("keys", keys, "Names of the entries.")
      .def("__repr__", [](const ParamGroup& group) {
        py::dict entries;
        for (const std::string& name : keys(group)) entries[py::str(name)] = get_option(group, name);
        return py::repr(entries);
      });
  m.def("_rebuild", rebuild, py::arg("cls"), py::arg("groups"), py::arg("defaults"), py::arg("state"));
  py::class_<Optimizer>(m, "Optimizer", R"(Base of all optimizers: SGD, Adam, AdamW, RMSprop and Adagrad.

Copies and pickles hold copies of the parameters. To keep those of a model, copy or pickle both as one object:
``copy.deepcopy((model, optimizer))``.

Example:
    >>> import cnnx
    >>> isinstance(cnnx.optim.Adam(cnnx.Linear(2, 2).parameters()), cnnx.optim.Optimizer)
    True
)")
      .def(
          "step",
          [](const py::object& self, const py::object& closure) {
            auto& optimizer = self.cast<Optimizer&>();
            if (is_capturing()) keep_with_graph(held(self));
            py::object loss = loss_of(closure);
            {
              const GilRelease nogil;
              const std::lock_guard locked(optimizer.mutex());
              optimizer.step();
            }
            return loss;
          },
          py::arg("closure") = py::none(),
          "Updates every parameter that has a gradient. A closure, which computes the loss and runs backward, is "
          "called "
          "before, and its result returned.")
      .def("zero_grad", &Optimizer::zero_grad, py::arg("set_to_none") = true,
           "Drops the gradients of all parameters: they become None; or zeros, with set_to_none=False.")
      .def(
          "add_param_group",
          [](Optimizer& self, const py::dict& group) {
            std::vector<ParamGroup> groups = groups_of(py::make_tuple(group));
            const auto locked = lock(self);
            for (ParamGroup& added : groups) self.add_param_group(std::move(added));
          },
          py::arg("param_group"), "Adds a dict with \"params\" and options of its own.")
      .def_property_readonly(
          "param_groups",
          [](py::object self) -> py::typing::Tuple<ParamGroup, py::ellipsis> {
            py::list groups;
            for (ParamGroup& group : self.cast<Optimizer&>().param_groups()) {
              groups.append(py::cast(group, py::return_value_policy::reference_internal, self));
            }
            return py::tuple(groups);
          },
          "The groups of parameters with their options, a tuple; add_param_group adds to them.")
      .def_property("lr", &Optimizer::lr,
                    setter<Optimizer>("lr",
                                      [](Optimizer& self, double lr) {
                                        refuse_in_capture();
                                        self.set_lr(lr);
                                      }),
                    "The learning rate of the first group; setting it sets that of all groups.")
      .def("state_dict", state_dict, R"(State and options, for saving.

Returns:
    A dict with "state" (tensors by number of the parameter) and "param_groups", as in torch.
)")
      .def("load_state_dict", load_state_dict, py::arg("state_dict"),
           R"(Restores what state_dict() returned, that of torch's optimizer of the same name as well.

Raises:
    ValueError: if groups, numbers or shapes of parameters differ, and for torch's amsgrad and maximize; nothing has changed
        then.
)")
      .def(
          "__reduce_ex__",
          [rebuild_function = py::object(m.attr("_rebuild"))](const py::object& self, int) {
            return reduce(self, rebuild_function);
          },
          py::arg("protocol"))
      .def("__repr__", repr);
}

}  // namespace cnnx::bindings
