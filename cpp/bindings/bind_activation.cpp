// Activations: functions and layers.
#include "module_arguments.h"

namespace cnnx::bindings {
namespace {

/// A layer without constructor arguments.
template <class L>
void bind_plain(py::module_& m, const char* name, const char* doc) {
  bind_layer<L>(m, name, doc).def(py::init([] { return std::make_unique<PyModule<L>>(); }));
}

void bind_elementary(py::module_& m) {
  m.def("exp", &cnnx::exp, py::arg("x"), NoGil(), R"(Element-wise e^x.

Args:
    x: any shape.

Shape:
    Any to the same.

Returns:
    A new tensor.

Example:
    >>> import cnnx
    >>> cnnx.exp(cnnx.tensor([0.0, 1.0])).tolist()[0]
    1.0
)");
  m.def("log", &cnnx::log, py::arg("x"), NoGil(), R"(Element-wise natural logarithm; -inf at 0, NaN below.

Args:
    x: any shape.

Shape:
    Any to the same.

Returns:
    A new tensor.

Example:
    >>> import cnnx
    >>> cnnx.log(cnnx.tensor([1.0, 0.0])).tolist()
    [0.0, -inf]
)");
  m.def("sqrt", &cnnx::sqrt, py::arg("x"), NoGil(),
        R"(Element-wise square root; NaN below 0. Its gradient at 0 is infinite.

Args:
    x: any shape.

Shape:
    Any to the same.

Returns:
    A new tensor.

Example:
    >>> import cnnx
    >>> cnnx.sqrt(cnnx.tensor([4.0, 9.0])).tolist()
    [2.0, 3.0]
)");
  m.def("abs", &cnnx::abs, py::arg("x"), NoGil(), R"(Element-wise absolute value; its gradient at 0 is 0.

Args:
    x: any shape.

Shape:
    Any to the same.

Returns:
    A new tensor.

Example:
    >>> import cnnx
    >>> cnnx.abs(cnnx.tensor([-2.0, 3.0])).tolist()
    [2.0, 3.0]
)");
  m.def("clip", &clip, py::arg("x"), py::arg("min") = py::none(), py::arg("max") = py::none(), NoGil(),
        R"(Element-wise limit to [min, max].

Args:
    x: any shape.
    min: the least value; None for no limit.
    max: the greatest value; None for no limit.

Shape:
    Any to the same.

Returns:
    A new tensor; where a limit acts, the gradient is 0.

Raises:
    ValueError: without any limit, and where min exceeds max.

Example:
    >>> import cnnx
    >>> cnnx.clip(cnnx.tensor([-2.0, 0.5, 3.0]), 0.0, 1.0).tolist()
    [0.0, 0.5, 1.0]
)");
}
}  // namespace

void bind_activation_functions(py::module_& m) {
  bind_elementary(m);
  m.def("relu", &relu, py::arg("x"), NoGil(), R"(max(0, x), element by element.

Args:
    x: any shape.

Shape:
    Any to the same.

Example:
    >>> import cnnx
    >>> cnnx.functional.relu(cnnx.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
)");
  m.def("add_relu", &add_relu, py::arg("a"), py::arg("b"), NoGil(),
        R"(relu(a + b) of two tensors in one pass, as residual blocks end.

Args:
    a: any shape.
    b: the same shape and dtype; nothing is broadcast.

Raises:
    ValueError: for shapes or dtypes that differ.

Example:
    >>> import cnnx
    >>> cnnx.functional.add_relu(cnnx.tensor([1.0, -3.0]), cnnx.ones(2)).tolist()
    [2.0, 0.0]
)");
  m.def("leaky_relu", &leaky_relu, py::arg("x"), py::arg("negative_slope") = 0.01, NoGil(),
        R"(x where positive, negative_slope * x elsewhere.

Args:
    x: any shape.
    negative_slope: slope for negative values.

Shape:
    Any to the same.

Example:
    >>> import cnnx
    >>> cnnx.functional.leaky_relu(cnnx.tensor([-1.0, 2.0]), 0.5).tolist()
    [-0.5, 2.0]
)");
  m.def("sigmoid", &sigmoid, py::arg("x"), NoGil(), R"(1 / (1 + e^-x).

Args:
    x: any shape.

Shape:
    Any to the same.

Example:
    >>> import cnnx
    >>> cnnx.functional.sigmoid(cnnx.zeros(1)).item()
    0.5
)");
  m.def("tanh", &cnnx::tanh, py::arg("x"), NoGil(), R"(The hyperbolic tangent.

Args:
    x: any shape.

Shape:
    Any to the same.

Example:
    >>> import cnnx
    >>> round(cnnx.functional.tanh(cnnx.ones(1)).item(), 4)
    0.7616
)");
  m.def(
      "gelu",
      [](const Tensor& x, const std::string& approximate) {
        if (approximate != "none" && approximate != "tanh") {
          throw std::invalid_argument("[gelu] approximate must be \"none\" or \"tanh\"; got \"" + approximate + "\".");
        }
        return gelu(x, approximate == "tanh");
      },
      py::arg("x"), py::arg("approximate") = "none", NoGil(),
      R"(x times the standard normal distribution function of x (Hendrycks and Gimpel, 2016).

Args:
    x: any shape.
    approximate: "none", or "tanh" for an approximation by tanh.

Shape:
    Any to the same.

Raises:
    ValueError: for another approximation.

Example:
    >>> import cnnx
    >>> round(cnnx.functional.gelu(cnnx.ones(1)).item(), 4)
    0.8413
)");
  m.def("silu", &silu, py::arg("x"), NoGil(), R"(x * sigmoid(x), also called swish (Elfwing et al., 2017).

Args:
    x: any shape.

Shape:
    Any to the same.

Example:
    >>> import cnnx
    >>> round(cnnx.functional.silu(cnnx.ones(1)).item(), 4)
    0.7311
)");
  m.def("softmax", &softmax, py::arg("x"), py::arg("dim") = -1, NoGil(),
        R"(e^x over its sum along an axis: probabilities from scores.

Args:
    x: any shape.
    dim: the axis; negative ones count from the end.

Shape:
    Output as x.

Raises:
    IndexError: for an axis that x does not have.

Example:
    >>> import cnnx
    >>> cnnx.functional.softmax(cnnx.zeros(1, 4)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
)");
  m.def("log_softmax", &log_softmax, py::arg("x"), py::arg("dim") = -1, NoGil(),
        R"(The logarithm of softmax, exact for large scores too.

Args:
    x: any shape.
    dim: the axis; negative ones count from the end.

Shape:
    Output as x.

Raises:
    IndexError: for an axis that x does not have.

Example:
    >>> import cnnx
    >>> cnnx.functional.log_softmax(cnnx.tensor([0.0, 1000.0])).tolist()
    [-1000.0, 0.0]
)");
}

void bind_activation_layers(py::module_& m) {
  bind_plain<Identity>(m, "Identity", R"(Returns its input.

Shape:
    Any to the same.

Example:
    >>> import cnnx
    >>> cnnx.Identity()(cnnx.ones(2)).tolist()
    [1.0, 1.0]
)");
  bind_plain<ReLU>(m, "ReLU", R"(max(x, 0).

Shape:
    Any to the same.

Example:
    >>> import cnnx
    >>> cnnx.ReLU()(cnnx.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
)");
  bind_plain<Sigmoid>(m, "Sigmoid", R"(1 / (1 + exp(-x)).

Shape:
    Any to the same.

Example:
    >>> import cnnx
    >>> cnnx.Sigmoid()(cnnx.zeros(1)).item()
    0.5
)");
  bind_plain<Tanh>(m, "Tanh", R"(The hyperbolic tangent.

Shape:
    Any to the same.

Example:
    >>> import cnnx
    >>> round(cnnx.Tanh()(cnnx.ones(1)).item(), 4)
    0.7616
)");
  bind_plain<SiLU>(m, "SiLU", R"(x * sigmoid(x), also called swish (Elfwing et al., 2017).

Shape:
    Any to the same.

Example:
    >>> import cnnx
    >>> round(cnnx.SiLU()(cnnx.ones(1)).item(), 4)
    0.7311
)");
  bind_layer<LeakyReLU>(m, "LeakyReLU", R"(x where positive, negative_slope * x elsewhere.

Args:
    negative_slope: slope for negative values.

Shape:
    Any to the same.

Example:
    >>> import cnnx
    >>> cnnx.LeakyReLU(0.5)(cnnx.tensor([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
)")
      .def(py::init([](double negative_slope) { return std::make_unique<PyModule<LeakyReLU>>(negative_slope); }),
           py::arg("negative_slope") = 0.01);
  bind_layer<GELU>(m, "GELU", R"(x times the normal distribution function of x (Hendrycks and Gimpel, 2016).

Args:
    approximate: "none", or "tanh" for an approximation by tanh.

Shape:
    Any to the same.

Raises:
    ValueError: for another approximation.

Example:
    >>> import cnnx
    >>> round(cnnx.GELU()(cnnx.ones(1)).item(), 4)
    0.8413
)")
      .def(py::init([](const std::string& approximate) { return std::make_unique<PyModule<GELU>>(approximate); }),
           py::arg("approximate") = "none");
  bind_layer<Softmax>(m, "Softmax",
                      R"(exp(x) over its sum along an axis: probabilities from scores.

Args:
    dim: the axis.

Shape:
    Any to the same.

Example:
    >>> import cnnx
    >>> cnnx.Softmax()(cnnx.zeros(1, 4)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
)")
      .def(py::init([](int64_t dim) { return std::make_unique<PyModule<Softmax>>(dim); }), py::arg("dim") = -1);
  bind_layer<LogSoftmax>(m, "LogSoftmax",
                         R"(The logarithm of Softmax, exact for large scores too.

Args:
    dim: the axis.

Shape:
    Any to the same.

Example:
    >>> import cnnx
    >>> cnnx.LogSoftmax()(cnnx.tensor([0.0, 1000.0])).tolist()
    [-1000.0, 0.0]
)")
      .def(py::init([](int64_t dim) { return std::make_unique<PyModule<LogSoftmax>>(dim); }), py::arg("dim") = -1);
}

}  // namespace cnnx::bindings
