// Optimisers. param_groups behave like torch's list of dicts.
#include <pybind11/typing.h>

#include "casters.h"
#include "cnnx/graph.h"
#include "cnnx/optim.h"

namespace cnnx::bindings {
namespace {

using namespace cnnx::optim;

/// Keeps the other threads' steps away. The GIL is not held while waiting: who has the lock may need it.
std::unique_lock<std::mutex> lock(Optimizer& optimizer) {
  const py::gil_scoped_release nogil;
  return std::unique_lock(optimizer.mutex());
}

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
            const py::gil_scoped_acquire gil;
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
  return closure();
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

/// An iterable of parameters, or of dicts with "params" and options of their own.
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
    py::dict entry;
    for (const std::string& name : keys(group)) {
      if (name != "params") entry[py::str(name)] = get_option(group, name);
    }
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
    for (const auto& [key, value] : given[i]) {
      const auto name = key.cast<std::string>();
      if (options.count(name == "betas" ? "beta1" : name) > 0) set_option(options, name, value);
    }
    changed.back().check_options("optim");
  }
  std::vector<Optimizer::State> state(optimizer.state().size());
  for (const auto& [key, value] : dict["state"].cast<py::dict>()) {
    const auto index = key.cast<int64_t>();
    if (index < 0 || index >= static_cast<int64_t>(state.size()))
      throw py::value_error("[optim] the state names a parameter " + std::to_string(index) + " that does not exist.");
    for (const auto& [name, tensor] : value.cast<py::dict>())
      state[static_cast<size_t>(index)][name.cast<std::string>()] = tensor.cast<Tensor>();
  }
  const auto locked = lock(optimizer);
  optimizer.set_state(std::move(state));
  for (size_t i = 0; i < groups.size(); ++i) {
    for (const auto& [name, value] : changed[i].options) groups[i].options[name] = value;
  }
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

void bind_base(py::module_& m) {
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
  py::class_<Optimizer>(m, "Optimizer", R"(Base of all optimizers: SGD, Adam, AdamW, RMSprop and Adagrad.

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
              const py::gil_scoped_release nogil;
              const std::lock_guard locked(optimizer.mutex());
              optimizer.step();
            }
            return loss;
          },
          py::arg("closure") = py::none(),
          "Updates every parameter that has a gradient. A closure, which computes the loss and runs backward, is "
          "called "
          "before, and its result returned.")
      .def("zero_grad", &Optimizer::zero_grad, py::arg("set_to_none") = true, NoGil(),
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
          [](py::object self) {
            py::list groups;
            for (ParamGroup& group : self.cast<Optimizer&>().param_groups()) {
              groups.append(py::cast(group, py::return_value_policy::reference_internal, self));
            }
            return groups;
          },
          "The groups of parameters with their options.")
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
      .def("load_state_dict", load_state_dict, py::arg("state_dict"), R"(Restores what state_dict() returned.

Raises:
    ValueError: if groups, numbers or shapes of parameters differ; nothing has changed then.
)")
      .def("__repr__", repr);
}

template <class O>
auto bind_optimizer(py::module_& m, const char* name, const char* doc) {
  return py::class_<O, Optimizer>(m, name, doc);
}

}  // namespace

void bind_optim(py::module_& core) {
  py::module_ m = core.def_submodule("optim", "Optimizers.");
  bind_base(m);
  bind_optimizer<SGD>(m, "SGD", R"(Stochastic gradient descent with momentum, as torch.optim.SGD.

Args:
    params: parameters, or dicts with "params" and options of their own.
    lr: learning rate.
    momentum: share of the last step's velocity that is kept.
    dampening: share of the gradient that does not enter the velocity.
    weight_decay: factor of the weights that is added to the gradient (L2 penalty).
    nesterov: look ahead by one step of momentum (Sutskever et al., 2013).

Raises:
    ValueError: for no parameters, ones that are not leaves, and options out of range.

Example:
    >>> import cnnx
    >>> w = cnnx.ones(1, requires_grad=True)
    >>> optimizer = cnnx.optim.SGD([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.item()
    0.0
)")
      .def(py::init([](const py::object& params, double lr, double momentum, double dampening, double weight_decay,
                       bool nesterov) {
             return std::make_unique<SGD>(groups_of(params),
                                          SGDOptions{lr, momentum, dampening, weight_decay, nesterov});
           }),
           py::arg("params"), py::arg("lr") = 1e-3, py::arg("momentum") = 0.0, py::arg("dampening") = 0.0,
           py::arg("weight_decay") = 0.0, py::arg("nesterov") = false);
  const auto bind_adam = [&]<class A>(std::type_identity<A>, const char* name, double weight_decay, const char* doc) {
    bind_optimizer<A>(m, name, doc)
        .def(py::init([](const py::object& params, double lr, std::pair<double, double> betas, double eps,
                         double decay) {
               return std::make_unique<A>(groups_of(params), AdamOptions{lr, betas.first, betas.second, eps, decay});
             }),
             py::arg("params"), py::arg("lr") = 1e-3, py::arg("betas") = std::pair(0.9, 0.999), py::arg("eps") = 1e-8,
             py::arg("weight_decay") = weight_decay);
  };
  bind_adam(std::type_identity<Adam>(), "Adam", 0.0, R"(Adam (Kingma and Ba, 2015), as torch.optim.Adam.

Args:
    params: parameters, or dicts with "params" and options of their own.
    lr: learning rate.
    betas: decay of the running mean of gradients and of their squares.
    eps: added to the root of the mean square.
    weight_decay: factor of the weights that is added to the gradient.

Raises:
    ValueError: for no parameters, ones that are not leaves, and options out of range.

Example:
    >>> import cnnx
    >>> w = cnnx.ones(1, requires_grad=True)
    >>> optimizer = cnnx.optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> 0.8 < w.item() < 1
    True
)");
  bind_adam(std::type_identity<AdamW>(), "AdamW", 0.01,
            R"(Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as torch.optim.AdamW.

Args:
    params: parameters, or dicts with "params" and options of their own.
    lr: learning rate.
    betas: decay of the running mean of gradients and of their squares.
    eps: added to the root of the mean square.
    weight_decay: the weights shrink by lr * weight_decay each step.

Raises:
    ValueError: for no parameters, ones that are not leaves, and options out of range.

Example:
    >>> import cnnx
    >>> w = cnnx.ones(1, requires_grad=True)
    >>> optimizer = cnnx.optim.AdamW([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> 0.8 < w.item() < 1
    True
)");
  bind_optimizer<RMSprop>(
      m, "RMSprop",
      R"(The gradient over the root of its running mean square (Hinton, lecture 6e), as torch.optim.RMSprop.

Args:
    params: parameters, or dicts with "params" and options of their own.
    lr: learning rate.
    alpha: decay of the mean square.
    eps: added to its root.
    weight_decay: factor of the weights that is added to the gradient.
    momentum: share of the last step that is kept.
    centered: use the variance in place of the mean square.

Raises:
    ValueError: for no parameters, ones that are not leaves, and options out of range.

Example:
    >>> import cnnx
    >>> w = cnnx.ones(1, requires_grad=True)
    >>> optimizer = cnnx.optim.RMSprop([w], lr=0.01)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> 0.8 < w.item() < 1
    True
)")
      .def(py::init([](const py::object& params, double lr, double alpha, double eps, double weight_decay,
                       double momentum, bool centered) {
             return std::make_unique<RMSprop>(groups_of(params),
                                              RMSpropOptions{lr, alpha, eps, weight_decay, momentum, centered});
           }),
           py::arg("params"), py::arg("lr") = 1e-2, py::arg("alpha") = 0.99, py::arg("eps") = 1e-8,
           py::arg("weight_decay") = 0.0, py::arg("momentum") = 0.0, py::arg("centered") = false);
  bind_optimizer<Adagrad>(
      m, "Adagrad", R"(Steps that shrink with the sum of squared gradients (Duchi et al., 2011), as torch.optim.Adagrad.

Args:
    params: parameters, or dicts with "params" and options of their own.
    lr: learning rate.
    lr_decay: lr is divided by 1 + lr_decay * (steps so far).
    weight_decay: factor of the weights that is added to the gradient.
    eps: added to the root of the sum.

Raises:
    ValueError: for no parameters, ones that are not leaves, and options out of range.

Example:
    >>> import cnnx
    >>> w = cnnx.ones(1, requires_grad=True)
    >>> optimizer = cnnx.optim.Adagrad([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> 0.8 < w.item() < 1
    True
)")
      .def(py::init([](const py::object& params, double lr, double lr_decay, double weight_decay, double eps) {
             return std::make_unique<Adagrad>(groups_of(params), AdagradOptions{lr, lr_decay, weight_decay, eps});
           }),
           py::arg("params"), py::arg("lr") = 1e-2, py::arg("lr_decay") = 0.0, py::arg("weight_decay") = 0.0,
           py::arg("eps") = 1e-10);
  m.def(
      "clip_grad_norm",
      [](const py::object& params, double max_norm, double norm_type) {
        std::vector<Tensor> tensors;
        if (py::isinstance<Tensor>(params)) {
          tensors.push_back(params.cast<Tensor>());
        } else {
          for (const py::handle param : params) tensors.push_back(param.cast<Tensor>());
        }
        const py::gil_scoped_release nogil;
        return clip_grad_norm(tensors, max_norm, norm_type);
      },
      py::arg("parameters"), py::arg("max_norm"), py::arg("norm_type") = 2.0,
      R"(Scales all gradients in place so that their joint norm is at most max_norm.

Args:
    parameters: tensors with gradients (those without are left out), or one.
    max_norm: the largest norm to allow.
    norm_type: p of the norm (sum |g|^p)^(1/p); infinity for the largest absolute value.

Returns:
    The norm before: a float64 tensor of one number where the gradients are, so that nothing waits for it.

Raises:
    ValueError: for a negative max_norm, a norm_type that is not positive, or gradients on several devices.

Example:
    >>> import cnnx
    >>> w = cnnx.tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> cnnx.optim.clip_grad_norm([w], 1.0).item()
    10.0
)");
  m.def(
      "_unscale",
      [](Optimizer& optimizer, double factor) {
        const auto locked = lock(optimizer);
        const py::gil_scoped_release nogil;
        std::vector<Tensor> params;
        for (const ParamGroup& group : optimizer.param_groups()) {
          params.insert(params.end(), group.params.begin(), group.params.end());
        }
        return unscale_gradients(params, factor);
      },
      py::arg("optimizer"), py::arg("factor"));
}

}  // namespace cnnx::bindings
