// What the bindings of modules take and return: modules by any Python object, and iterators over modules.
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

void bind_containers(py::module_& m);

}  // namespace cnnx::bindings
