// The extension module cnnx._core.
#include "casters.h"

PYBIND11_MODULE(_core, m) {
  m.doc() = "The C++ core of cnnx.";
  m.attr("__version__") = CNNX_VERSION;
  cnnx::bindings::bind_tensor(m);
  cnnx::bindings::bind_ops(m);
  cnnx::bindings::bind_loss(m);
  cnnx::bindings::bind_nn(m);
  cnnx::bindings::bind_layers(m);
  cnnx::bindings::bind_optim(m);
  cnnx::bindings::bind_io(m);
  cnnx::bindings::bind_analysis(m);
}
