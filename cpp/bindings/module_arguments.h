// What the bindings of modules share: modules from Python objects, iterators over modules, classes of layers.
#pragma once

#include <pybind11/typing.h>

#include "py_module.h"

namespace cnnx::bindings {

template <class T>
using Iterator = py::typing::Iterator<T>;
using NamedTensor = py::typing::Tuple<py::str, Tensor>;
using NamedModule = py::typing::Tuple<py::str, Module>;

/// An iterator over a list, of the type that the signature shows.
template <class T>
Iterator<T> iterate(const py::object& items) {
  return Iterator<T>(py::iter(items));
}

inline std::string type_of(py::handle object) {
  return py::type::handle_of(object).attr("__name__").cast<std::string>();
}

inline py::list seconds(const py::list& pairs) {
  py::list result;
  for (const py::handle pair : pairs) result.append(pair[py::int_(1)]);
  return result;
}

/// A module, or a TypeError that says what to do.
inline std::shared_ptr<Module> to_module(const char* op, py::handle value) {
  if (py::isinstance<Module>(value)) {
    module_of(value);
    return value.cast<std::shared_ptr<Module>>();
  }
  std::string hint;
  if (PyType_Check(value.ptr())) hint = " Call the class to make a module.";
  if (py::isinstance<py::list>(value) || py::isinstance<py::tuple>(value)) hint = " Unpack a sequence with *.";
  throw py::type_error("[" + std::string(op) + "] expected a Module; got " + type_of(value) + "." + hint);
}

template <class L>
using LayerClass = py::class_<L, Module, PyModule<L>, py::smart_holder>;

/// Binds a class whose forward takes one tensor, without its constructor.
template <class L>
LayerClass<L> bind_layer(py::module_& m, const char* name, const char* doc) {
  LayerClass<L> cls(m, name, doc, module_type_setup());
  cls.def(
      "forward", [](L& self, const Tensor& x) { return is_python(self) ? self.L::forward(x) : self.forward(x); },
      py::arg("x"), NoGil(), "Applies the layer.");
  return cls;
}

void bind_containers(py::module_& m);

}  // namespace cnnx::bindings
