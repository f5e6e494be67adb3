// Sequential, Residual and Concat.
#include "module_arguments.h"

namespace cnnx::bindings {
namespace {

/// The modules of a constructor: "0", "1", ..., or one dict of names and modules.
Module::NamedModules named_modules(const char* op, const py::args& modules) {
  Module::NamedModules named;
  if (modules.size() == 1 && py::isinstance<py::dict>(modules[0])) {
    for (const py::handle item : modules[0].attr("items")()) {
      const auto [name, module] = item.cast<std::pair<py::object, py::object>>();
      if (!py::isinstance<py::str>(name))
        throw py::type_error("[" + std::string(op) + "] names must be strings; got " + type_of(name) + ".");
      named.emplace_back(name.cast<std::string>(), to_module(op, module));
    }
  } else {
    for (const py::handle module : modules) named.emplace_back(std::to_string(named.size()), to_module(op, module));
  }
  return named;
}

py::object get_item(const Sequential& self, const py::object& index) {
  int64_t at = 0;
  if (load_integer(index, at)) return py::cast(std::shared_ptr<Module>(self[at]));
  if (!py::isinstance<py::slice>(index))
    throw py::type_error("[sequential] indices are integers or slices; got " + type_of(index) + ".");
  size_t start = 0, stop = 0, step = 0, length = 0;
  if (!index.cast<py::slice>().compute(self.size(), &start, &stop, &step, &length)) throw py::error_already_set();
  const py::object part = py::type::of<Sequential>()();
  for (size_t i = 0; i < length; ++i, start += step) {
    const auto [name, module] = self.named_children()[start];
    part.cast<Module&>().register_module(name, module);
  }
  return part;
}

void bind_sequential(py::module_& m) {
  bind_layer<Sequential>(m, "Sequential", R"(Applies modules in order.

Args:
    modules: the modules, named "0", "1", ...; or one dict of names and modules.

Example:
    >>> import cnnx
    >>> net = cnnx.Sequential(cnnx.Conv2d(1, 4, 3, padding=1), cnnx.ReLU(), cnnx.Flatten(), cnnx.Linear(256, 10))
    >>> net(cnnx.randn(2, 1, 8, 8)).shape
    (2, 10)
    >>> len(net), net[1], net[-1]
    (4, ReLU(), Linear(in_features=256, out_features=10, bias=True))
)")
      .def(py::init([](const py::args& modules) {
        return std::make_unique<PyModule<Sequential>>(named_modules("sequential", modules));
      }))
      .def("__len__", &Sequential::size)
      .def("__iter__", [](const Sequential& self) { return iterate<Module>(seconds(py::cast(self.named_children()))); })
      .def("__getitem__", get_item, py::arg("index"))
      .def(
          "__setitem__",
          [](Sequential& self, int64_t index, py::handle module) {
            self.replace(index, to_module("sequential", module));
          },
          py::arg("index"), py::arg("module"))
      .def("__delitem__", &Sequential::erase, py::arg("index"))
      .def(
          "append",
          [](py::object self, py::handle module) {
            self.cast<Sequential&>().push_back(to_module("sequential", module));
            return self;
          },
          py::arg("module"), "Adds a module at the end. Returns the Sequential itself.")
      .def(
          "extend",
          [](py::object self, const py::typing::Iterable<Module>& modules) {
            std::vector<std::shared_ptr<Module>> added;
            for (const py::handle module : modules) added.push_back(to_module("sequential", module));
            for (auto& module : added) self.cast<Sequential&>().push_back(std::move(module));
            return self;
          },
          py::arg("modules"), "Adds modules at the end. Returns the Sequential itself.")
      .def(
          "insert",
          [](py::object self, int64_t index, py::handle module) {
            self.cast<Sequential&>().insert(index, to_module("sequential", module));
            return self;
          },
          py::arg("index"), py::arg("module"), "Adds a module before another one. Returns the Sequential itself.");
}

void bind_residual(py::module_& m) {
  bind_layer<Residual>(m, "Residual", R"(ReLU of its modules, applied in order, plus a shortcut.

Args:
    modules: the body, named "0", "1", ...; or one dict of names and modules.
    downsample: what turns the input into the shortcut where the body changes its shape; without it, the input itself.

Shape:
    As the body's, which the shortcut must have, too.

Example:
    >>> import cnnx
    >>> block = cnnx.Residual(cnnx.Conv2d(4, 4, 3, padding=1), cnnx.BatchNorm2d(4))
    >>> block(cnnx.randn(2, 4, 8, 8)).shape
    (2, 4, 8, 8)

Source: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition" (2015).
)")
      .def(py::init([](const py::args& modules, const py::object& downsample) {
             return std::make_unique<PyModule<Residual>>(
                 named_modules("residual", modules),
                 downsample.is_none() ? nullptr : to_module("residual", downsample));
           }),
           py::kw_only(), py::arg("downsample") = py::none());
}

void bind_concat(py::module_& m) {
  bind_layer<Concat>(m, "Concat", R"(Applies every module to the same input and joins the results along the channels.

Args:
    modules: the branches, named "0", "1", ...; or one dict of names and modules.

Shape:
    (N, C, ...) to (N, the sum of the branches' channels, ...).

Example:
    >>> import cnnx
    >>> branches = cnnx.Concat(cnnx.Conv2d(3, 4, 1), cnnx.Conv2d(3, 8, 3, padding=1))
    >>> branches(cnnx.randn(2, 3, 8, 8)).shape
    (2, 12, 8, 8)

Source: Szegedy et al., "Going Deeper with Convolutions" (2014), the Inception module.
)")
      .def(py::init([](const py::args& modules) {
        return std::make_unique<PyModule<Concat>>(named_modules("concat", modules));
      }));
}

}  // namespace

void bind_containers(py::module_& m) {
  bind_sequential(m);
  bind_residual(m);
  bind_concat(m);
}

}  // namespace cnnx::bindings
