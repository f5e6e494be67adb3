// The extension module cnnx._core.
#include "casters.h"

namespace {

/// An item of the wrong type inside a list or dict: a TypeError that names its type, without C++ terms.
void translate_cast_error(std::exception_ptr raised) {
  try {
    std::rethrow_exception(raised);
  } catch (const py::cast_error& error) {
    const std::string text = error.what();
    const size_t begin = text.find("<class '"), end = text.find("'>", begin);
    const std::string got = end == std::string::npos ? "" : "; got " + text.substr(begin + 8, end - begin - 8);
    PyErr_SetString(PyExc_TypeError, ("[argument] a value has a type that is not accepted here" + got + ".").c_str());
  }
}

/// pybind11's base of all classes throws through C code when it is called itself, as pickle's protocols 0 and 1 do.
PyObject* new_instance(PyTypeObject* type, PyObject*, PyObject*) {
  if (py::detail::all_type_info(type).empty()) {
    PyErr_Format(PyExc_TypeError, "[init] objects of type %s cannot be made.", type->tp_name);
    return nullptr;
  }
  return py::detail::make_new_instance(type);
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  py::register_local_exception_translator(translate_cast_error);
  reinterpret_cast<PyTypeObject*>(py::detail::get_internals().instance_base)->tp_new = new_instance;
  m.doc() = "The C++ core of cnnx.";
  m.attr("__version__") = CNNX_VERSION;
  cnnx::bindings::bind_tensor(m);
  cnnx::bindings::bind_ops(m);
  cnnx::bindings::bind_loss(m);
  cnnx::bindings::bind_nn(m);
  cnnx::bindings::bind_init(m);
  cnnx::bindings::bind_layers(m);
  cnnx::bindings::bind_convolutions(m);
  cnnx::bindings::bind_normalizations(m);
  cnnx::bindings::bind_resampling(m);
  cnnx::bindings::bind_optim(m);
  cnnx::bindings::bind_io(m);
  cnnx::bindings::bind_analysis(m);
  cnnx::bindings::bind_cuda(m);
}
