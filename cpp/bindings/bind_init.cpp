// cnnx.init: initial values of parameters.
#include "casters.h"

namespace cnnx::bindings {
namespace {

using Text = const std::string&;

constexpr const char* kConstantDoc =
    R"(Fills a tensor with one value.

Args:
    tensor: a floating-point tensor, changed in place; nothing is recorded.
    val: the value.

Returns:
    The same tensor.

Example:
    >>> import cnnx
    >>> cnnx.init.constant_(cnnx.Linear(2, 1).weight, 0.5).tolist()
    [[0.5, 0.5]]
)";

constexpr const char* kZerosDoc =
    R"(Fills a tensor with zeros.

Args:
    tensor: a floating-point tensor, changed in place; nothing is recorded.

Returns:
    The same tensor.

Example:
    >>> import cnnx
    >>> cnnx.init.zeros_(cnnx.Linear(2, 1).bias).tolist()
    [0.0]
)";

constexpr const char* kOnesDoc =
    R"(Fills a tensor with ones.

Args:
    tensor: a floating-point tensor, changed in place; nothing is recorded.

Returns:
    The same tensor.

Example:
    >>> import cnnx
    >>> cnnx.init.ones_(cnnx.BatchNorm2d(2).weight).tolist()
    [1.0, 1.0]
)";

constexpr const char* kUniformDoc =
    R"(Draws from the uniform distribution over [a, b).

Args:
    tensor: a floating-point tensor, changed in place; nothing is recorded.
    a: the least value.
    b: what values stay below.

Returns:
    The same tensor.

Raises:
    ValueError: for bounds that are not finite or in the wrong order.

Example:
    >>> import cnnx
    >>> values = cnnx.init.uniform_(cnnx.zeros(1000), -2.0, 2.0).tolist()
    >>> -2 <= min(values) < -1.9 and 1.9 < max(values) < 2
    True
)";

constexpr const char* kNormalDoc =
    R"(Draws from the normal distribution.

Args:
    tensor: a floating-point tensor, changed in place; nothing is recorded.
    mean: of the distribution.
    std: its standard deviation.

Returns:
    The same tensor.

Raises:
    ValueError: for a negative deviation, and numbers that are not finite.

Example:
    >>> import cnnx
    >>> weight = cnnx.init.normal_(cnnx.zeros(64, 3, 7, 7), std=0.01)  # as AlexNet begins
    >>> abs(weight.mean().item()) < 0.001
    True
)";

constexpr const char* kXavierUniformDoc =
    R"(Uniform in +-gain * sqrt(6 / (fan_in + fan_out)), for layers before tanh and sigmoid.

Args:
    tensor: at least two axes: (outputs, inputs, ...).
    gain: a factor, see calculate_gain.

Returns:
    The same tensor.

Raises:
    ValueError: for fewer than two axes, whose fans are not known.

Example:
    >>> import cnnx
    >>> weight = cnnx.init.xavier_uniform_(cnnx.zeros(300, 300), cnnx.init.calculate_gain("tanh"))
    >>> 0.99 < weight.max().item() / (5 / 3 * 0.1) < 1.0001
    True

Source: Glorot and Bengio, "Understanding the Difficulty of Training Deep Feedforward Neural Networks" (2010).
)";

constexpr const char* kXavierNormalDoc =
    R"(Normal with variance gain**2 * 2 / (fan_in + fan_out), for layers before tanh and sigmoid.

Args:
    tensor: at least two axes: (outputs, inputs, ...).
    gain: a factor, see calculate_gain.

Returns:
    The same tensor.

Raises:
    ValueError: for fewer than two axes, whose fans are not known.

Example:
    >>> import cnnx
    >>> weight = cnnx.init.xavier_normal_(cnnx.zeros(200, 200))
    >>> 0.95 < (weight * weight).mean().item() / (2 / 400) < 1.05
    True

Source: Glorot and Bengio, "Understanding the Difficulty of Training Deep Feedforward Neural Networks" (2010).
)";

constexpr const char* kKaimingUniformDoc =
    R"(Uniform with variance gain**2 / fan: +-gain * sqrt(3 / fan).

Args:
    tensor: at least two axes: (outputs, inputs, ...).
    a: negative slope of the leaky ReLU that follows; 0 for ReLU.
    mode: "fan_in" keeps the variance of activations, "fan_out" that of gradients.
    nonlinearity: "relu", "leaky_relu", "tanh", "sigmoid", "linear", "conv2d" or "selu".

Returns:
    The same tensor.

Raises:
    ValueError: for fewer than two axes, and an unknown mode or nonlinearity.

Example:
    >>> import cnnx
    >>> weight = cnnx.init.kaiming_uniform_(cnnx.zeros(64, 3, 7, 7), nonlinearity="relu")
    >>> 0.99 < weight.max().item() / (6 / 147) ** 0.5 < 1.0001
    True

Source: He, Zhang, Ren and Sun, "Delving Deep into Rectifiers" (2015).
)";

constexpr const char* kKaimingNormalDoc =
    R"(Normal with variance gain**2 / fan.

Args:
    tensor: at least two axes: (outputs, inputs, ...).
    a: negative slope of the leaky ReLU that follows; 0 for ReLU.
    mode: "fan_in" keeps the variance of activations, "fan_out" that of gradients.
    nonlinearity: "relu", "leaky_relu", "tanh", "sigmoid", "linear", "conv2d" or "selu".

Returns:
    The same tensor.

Raises:
    ValueError: for fewer than two axes, and an unknown mode or nonlinearity.

Example:
    >>> import cnnx
    >>> weight = cnnx.init.kaiming_normal_(cnnx.zeros(64, 64, 3, 3), mode="fan_out", nonlinearity="relu")  # as ResNet begins
    >>> 0.95 < (weight * weight).mean().item() / (2 / 576) < 1.05
    True

Source: He, Zhang, Ren and Sun, "Delving Deep into Rectifiers" (2015).
)";

constexpr const char* kGainDoc =
    R"(The factor by which weights before a nonlinearity are larger, so that variances stay.

Args:
    nonlinearity: "relu", "leaky_relu", "tanh", "sigmoid", "linear", "conv2d" or "selu".
    param: negative slope of "leaky_relu".

Returns:
    sqrt(2) for "relu", sqrt(2 / (1 + param**2)) for "leaky_relu", 5 / 3 for "tanh", 3 / 4 for "selu", else 1.

Raises:
    ValueError: for another name.

Example:
    >>> import cnnx
    >>> cnnx.init.calculate_gain("tanh")
    1.6666666666666667
)";

/// Binds fn(tensor, args...), which fills the tensor, so that it returns the same Python object.
template <class... Args, class... Extra>
void bind_filler(py::module_& m, const char* name, void (*fn)(Tensor&, Args...), const char* doc,
                 const Extra&... extra) {
  m.def(
      name, [fn](Tensor& tensor, Args... args) -> Tensor& { return fn(tensor, args...), tensor; }, py::arg("tensor"),
      extra..., doc, py::return_value_policy::reference, NoGil());
}

}  // namespace

void bind_init(py::module_& core) {
  py::module_ m = core.def_submodule("init", "Initialisation in place, with torch.nn.init's names and formulas.");
  bind_filler(m, "constant_", init::constant_, kConstantDoc, py::arg("val"));
  bind_filler(m, "zeros_", +[](Tensor& tensor) { init::constant_(tensor, 0); }, kZerosDoc);
  bind_filler(m, "ones_", +[](Tensor& tensor) { init::constant_(tensor, 1); }, kOnesDoc);
  bind_filler(m, "uniform_", init::uniform_, kUniformDoc, py::arg("a") = 0.0, py::arg("b") = 1.0);
  bind_filler(m, "normal_", init::normal_, kNormalDoc, py::arg("mean") = 0.0, py::arg("std") = 1.0);
  bind_filler(m, "xavier_uniform_", init::xavier_uniform_, kXavierUniformDoc, py::arg("gain") = 1.0);
  bind_filler(m, "xavier_normal_", init::xavier_normal_, kXavierNormalDoc, py::arg("gain") = 1.0);
  const auto a = py::arg("a") = 0.0;
  const auto mode = py::arg("mode") = "fan_in", nonlinearity = py::arg("nonlinearity") = "leaky_relu";
  bind_filler(
      m, "kaiming_uniform_",
      +[](Tensor& tensor, double slope, Text fan, Text act) { init::kaiming_uniform_(tensor, {slope, fan, act}); },
      kKaimingUniformDoc, a, mode, nonlinearity);
  bind_filler(
      m, "kaiming_normal_",
      +[](Tensor& tensor, double slope, Text fan, Text act) { init::kaiming_normal_(tensor, {slope, fan, act}); },
      kKaimingNormalDoc, a, mode, nonlinearity);
  m.def("calculate_gain", init::calculate_gain, py::arg("nonlinearity"), py::arg("param") = 0.01, kGainDoc);
}

}  // namespace cnnx::bindings
