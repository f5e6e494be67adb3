// Group, layer and instance normalization, and dropout of channels: functions and layers.
#include "module_arguments.h"

namespace cnnx::bindings {
namespace {

using OptionalTensor = std::optional<Tensor>;

constexpr const char* kGroupNormDoc = R"(Normalises each image over groups of its channels; independent of the batch.

Args:
    x: (N, C, ...).
    num_groups: into how many groups the channels are cut; 1 is layer normalization, C instance normalization.
    weight: scale (C), or None.
    bias: shift (C), or None.
    eps: added to the variance.

Shape:
    Output as x: (x - mean) / sqrt(var + eps) * weight + bias, with the mean and the biased variance of each group.

Returns:
    The normalised tensor.

Raises:
    ValueError: if num_groups does not divide the channels, or shapes do not match.

Source:
    Wu and He, "Group Normalization" (2018).

Example:
    >>> import cnnx
    >>> cnnx.functional.group_norm(cnnx.tensor([[1.0, 3.0, 10.0, 30.0]]), 2, eps=0.0).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
)";

constexpr const char* kLayerNormDoc = R"(Normalises over the last axes.

Args:
    x: (..., *normalized_shape).
    normalized_shape: lengths of the last axes, or the length of the last one.
    weight: scale of shape normalized_shape, or None.
    bias: shift of shape normalized_shape, or None.
    eps: added to the variance.

Shape:
    Output as x: (x - mean) / sqrt(var + eps) * weight + bias, with the mean and the biased variance over the last axes.

Returns:
    The normalised tensor.

Raises:
    ValueError: for shapes that do not match.

Source:
    Ba, Kiros and Hinton, "Layer Normalization" (2016).

Example:
    >>> import cnnx
    >>> cnnx.functional.layer_norm(cnnx.tensor([[1.0, 3.0], [10.0, 30.0]]), 2, eps=0.0).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
)";

constexpr const char* kInstanceNormDoc = R"(Normalises each channel of each image over its positions.

Args:
    x: (N, C, L, ...).
    running_mean: (C), used without use_input_stats and updated with; None to do without.
    running_var: (C), likewise.
    weight: scale (C), or None.
    bias: shift (C), or None.
    use_input_stats: normalise with the images' own statistics.
    momentum: weight of the batch's average statistics in the running ones.
    eps: added to the variance.

Shape:
    Output as x: (x - mean) / sqrt(var + eps) * weight + bias.

Returns:
    The normalised tensor. The running variance takes the unbiased estimate, as in torch.

Raises:
    ValueError: for mismatched shapes, or images of one value a channel.

Source:
    Ulyanov, Vedaldi and Lempitsky, "Instance Normalization" (2016).

Example:
    >>> import cnnx
    >>> cnnx.functional.instance_norm(cnnx.tensor([[[1.0, 3.0], [10.0, 30.0]]]), eps=0.0).tolist()
    [[[-1.0, 1.0], [-1.0, 1.0]]]
)";

constexpr const char* kDropout2dDoc = R"(Zeroes whole channels of images at random and scales the others by 1 / (1 - p).

Args:
    x: images (N, C, H, W).
    p: probability that a channel of an image becomes zero.
    training: otherwise the result is x itself.

Shape:
    Output as x.

Returns:
    The images with channels missing.

Raises:
    ValueError: for p outside [0, 1], or a tensor that is no batch of images.

Source:
    Tompson et al., "Efficient Object Localization Using Convolutional Networks" (2015).

Example:
    >>> import cnnx
    >>> kept = cnnx.functional.dropout2d(cnnx.ones(1, 100, 2, 2), 0.5).numpy()
    >>> sorted({float(channel.sum()) for channel in kept[0]})
    [0.0, 8.0]
)";

constexpr const char* kGroupNormLayerDoc =
    R"(Normalises each image over groups of its channels, then scales and shifts them.

Args:
    num_groups: into how many groups the channels are cut.
    num_channels: number of channels.
    eps: added to the variance.
    affine: whether to learn a scale (weight, 1 at first) and a shift (bias, 0) for each channel.
    dtype: of the parameters: "float32", "float64", "float16" or "bfloat16".

Shape:
    (N, num_channels, ...) to the same.

Raises:
    ValueError: if num_groups does not divide num_channels.

Example:
    >>> import cnnx
    >>> cnnx.GroupNorm(4, 16)(cnnx.randn(2, 16, 8, 8)).shape
    (2, 16, 8, 8)

Source: Wu and He, "Group Normalization" (2018).
)";

constexpr const char* kLayerNormLayerDoc = R"(Normalises over the last axes, then scales and shifts each value.

Args:
    normalized_shape: lengths of the last axes, or the length of the last one.
    eps: added to the variance.
    elementwise_affine: whether to learn a scale (weight, 1 at first) for each value of normalized_shape.
    bias: whether to learn a shift (bias, 0 at first), too.
    dtype: of the parameters: "float32", "float64", "float16" or "bfloat16".

Shape:
    (..., *normalized_shape) to the same.

Raises:
    ValueError: if a length is not positive.

Example:
    >>> import cnnx
    >>> norm = cnnx.LayerNorm((3, 8, 8))
    >>> norm(cnnx.randn(2, 3, 8, 8)).shape
    (2, 3, 8, 8)
    >>> norm
    LayerNorm((3, 8, 8), eps=1e-05, elementwise_affine=True, bias=True)

Source: Ba, Kiros and Hinton, "Layer Normalization" (2016).
)";

constexpr const char* kInstanceNormLayerDoc = R"(Normalises each channel of each image over its positions.

Args:
    num_features: number of channels.
    eps: added to the variance.
    momentum: weight of the new statistics in the running ones.
    affine: whether to learn a scale (weight) and a shift (bias) for each channel.
    track_running_stats: whether to keep running statistics in training and use them in evaluation.
    dtype: of the parameters: "float32", "float64", "float16" or "bfloat16".

Shape:
    (N, num_features, H, W) to the same.

Example:
    >>> import cnnx
    >>> cnnx.InstanceNorm2d(3)(cnnx.randn(8, 3, 4, 4)).shape
    (8, 3, 4, 4)

Source: Ulyanov, Vedaldi and Lempitsky, "Instance Normalization" (2016).
)";

constexpr const char* kDropout2dLayerDoc =
    R"(Zeroes whole channels at random in training and scales the others by 1 / (1 - p).

Args:
    p: probability that a channel becomes zero.

Shape:
    (N, C, H, W) to the same.

Example:
    >>> import cnnx
    >>> cnnx.Dropout2d(0.2).eval()(cnnx.ones(1, 1, 1, 2)).tolist()
    [[[[1.0, 1.0]]]]

Source: Tompson et al., "Efficient Object Localization Using Convolutional Networks" (2015).
)";

void bind_functions(py::module_& m) {
  m.def(
      "group_norm",
      [](const Tensor& x, int64_t num_groups, const OptionalTensor& weight, const OptionalTensor& bias, double eps) {
        return group_norm(x, num_groups, or_undefined(weight), or_undefined(bias), eps);
      },
      py::arg("x"), py::arg("num_groups"), py::arg("weight") = py::none(), py::arg("bias") = py::none(),
      py::arg("eps") = 1e-5, NoGil(), kGroupNormDoc);
  m.def(
      "layer_norm",
      [](const Tensor& x, const Shape& normalized_shape, const OptionalTensor& weight, const OptionalTensor& bias,
         double eps) { return layer_norm(x, normalized_shape, or_undefined(weight), or_undefined(bias), eps); },
      py::arg("x"), py::arg("normalized_shape"), py::arg("weight") = py::none(), py::arg("bias") = py::none(),
      py::arg("eps") = 1e-5, NoGil(), kLayerNormDoc);
  m.def(
      "instance_norm",
      [](const Tensor& x, const OptionalTensor& running_mean, const OptionalTensor& running_var,
         const OptionalTensor& weight, const OptionalTensor& bias, bool use_input_stats, double momentum, double eps) {
        return instance_norm(x, or_undefined(running_mean), or_undefined(running_var), or_undefined(weight),
                             or_undefined(bias), {use_input_stats, momentum, eps});
      },
      py::arg("x"), py::arg("running_mean") = py::none(), py::arg("running_var") = py::none(),
      py::arg("weight") = py::none(), py::arg("bias") = py::none(), py::arg("use_input_stats") = true,
      py::arg("momentum") = 0.1, py::arg("eps") = 1e-5, NoGil(), kInstanceNormDoc);
  m.def("dropout2d", &dropout2d, py::arg("x"), py::arg("p") = 0.5, py::arg("training") = true, NoGil(), kDropout2dDoc);
}

void bind_norms(py::module_& m) {
  bind_layer<GroupNorm>(m, "GroupNorm", kGroupNormLayerDoc)
      .def(py::init([](int64_t num_groups, int64_t num_channels, double eps, bool affine, const DTypeArg& dtype) {
             return std::make_unique<PyModule<GroupNorm>>(num_groups, num_channels,
                                                          GroupNormOptions{eps, affine, dtype.value});
           }),
           py::arg("num_groups"), py::arg("num_channels"), py::arg("eps") = 1e-5, py::arg("affine") = true,
           py::arg("dtype") = "float32");
  bind_layer<LayerNorm>(m, "LayerNorm", kLayerNormLayerDoc)
      .def(py::init([](const Shape& normalized_shape, double eps, bool elementwise_affine, bool bias,
                       const DTypeArg& dtype) {
             return std::make_unique<PyModule<LayerNorm>>(normalized_shape,
                                                          LayerNormOptions{eps, elementwise_affine, bias, dtype.value});
           }),
           py::arg("normalized_shape"), py::arg("eps") = 1e-5, py::arg("elementwise_affine") = true,
           py::arg("bias") = true, py::arg("dtype") = "float32");
  bind_layer<InstanceNorm2d>(m, "InstanceNorm2d", kInstanceNormLayerDoc)
      .def(py::init([](int64_t num_features, double eps, double momentum, bool affine, bool track_running_stats,
                       const DTypeArg& dtype) {
             return std::make_unique<PyModule<InstanceNorm2d>>(
                 num_features, InstanceNorm2dOptions{eps, momentum, affine, track_running_stats, dtype.value});
           }),
           py::arg("num_features"), py::arg("eps") = 1e-5, py::arg("momentum") = 0.1, py::arg("affine") = false,
           py::arg("track_running_stats") = false, py::arg("dtype") = "float32");
  bind_layer<Dropout2d>(m, "Dropout2d", kDropout2dLayerDoc)
      .def(py::init([](double p) { return std::make_unique<PyModule<Dropout2d>>(p); }), py::arg("p") = 0.5);
}

}  // namespace

void bind_normalizations(py::module_& m) {
  bind_functions(m);
  bind_norms(m);
}

}  // namespace cnnx::bindings
