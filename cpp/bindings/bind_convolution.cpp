// Transposed convolution, locally connected layers, im2col and col2im: functions and layers.
#include "module_arguments.h"

namespace cnnx::bindings {
namespace {

using OptionalTensor = std::optional<Tensor>;

constexpr const char* kConvTransposeDoc = R"(Transposed convolution: the gradient of conv2d with respect to its input.

Each input value scatters a copy of a filter, multiplied by it, into the output; stride is the step in the output. Also
called fractionally strided convolution, or, misleadingly, deconvolution.

Args:
    x: images (N, C, H, W).
    weight: filters (C, K / groups, R, S); the weight of a conv2d from K channels to C.
    bias: one value an output channel (K), or None.
    stride: int or (h, w).
    padding: int, (h, w) or (top, bottom, left, right): rows and columns cut off the output.
    output_padding: rows and columns added at the bottom and the right, less than stride or dilation. Of the sizes that
        conv2d with a stride maps to one, it picks another.
    groups: the channels are cut into this many groups that do not see each other.
    dilation: distance between filter cells.

Shape:
    (N, K, OH, OW) with OH = (H - 1) * stride - 2 * padding + dilation * (R - 1) + output_padding + 1, likewise OW.

Returns:
    The output volume.

Raises:
    ValueError: for shapes that do not match, numbers out of range, or so much padding that nothing is left.

Source:
    Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), chapter 4.

Example:
    >>> import cnnx
    >>> cnnx.functional.conv_transpose2d(cnnx.zeros(1, 8, 7, 7), cnnx.zeros(8, 3, 2, 2), stride=2).shape
    (1, 3, 14, 14)
)";

constexpr const char* kConvTransposeLayerDoc =
    R"(Enlarges images by filters that each input value scatters into the output.

Args:
    in_channels: channels of the input.
    out_channels: channels of the output.
    kernel_size: height and width of the filters; one integer stands for both, here and below.
    stride: step in the output between input values.
    padding: rows and columns cut off the output: an int, (h, w) or (top, bottom, left, right).
    output_padding: rows and columns added at the bottom and the right, less than stride or dilation.
    groups: channels are split into so many groups that do not see each other.
    bias: whether to add a learned value to each output channel.
    dilation: step between the values of a filter.
    dtype: of the parameters: "float32", "float64", "float16" or "bfloat16".

Shape:
    (N, in_channels, H, W) to (N, out_channels, OH, OW), OH = (H - 1) * stride - 2 * padding + dilation * (R - 1) + output_padding + 1.
    weight: (in_channels, out_channels / groups, R, S), uniform in +-1 / sqrt(out_channels / groups * R * S) at first, like
    bias: (out_channels,).

Raises:
    ValueError: if groups does not divide the channels, or a size is out of range.

Example:
    >>> import cnnx
    >>> up = cnnx.ConvTranspose2d(8, 3, 3, stride=2, padding=1, output_padding=1)
    >>> up(cnnx.randn(2, 8, 16, 16)).shape
    (2, 3, 32, 32)
    >>> up
    ConvTranspose2d(8, 3, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), output_padding=(1, 1))

Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), chapter 4.
)";

constexpr const char* kLocallyConnectedDoc =
    R"(Convolution with untied weights: every output position has filters of its own.

Where what a filter should look for depends on the place, as in centred faces, sharing parameters is wrong.

Args:
    x: images (N, C, H, W).
    weight: filters (OH, OW, K, C, R, S): weight[i, j] is the weight of a conv2d that makes output position (i, j).
    bias: one value an output (K, OH, OW), or None.
    stride: int or (h, w).
    padding: int, (h, w), (top, bottom, left, right), "same" (stride 1 only) or "valid".
    dilation: distance between filter cells.
    fit: "floor", "ceil" or "strict"; see conv2d.

Shape:
    (N, K, OH, OW) with OH and OW as in conv2d.

Returns:
    The output volume.

Raises:
    ValueError: for shapes that do not match, above all if the input gives another output size than weight is for.

Source:
    CS231n, "Convolutional Neural Networks", section Parameter Sharing.

Example:
    >>> import cnnx
    >>> x, weight = cnnx.zeros(1, 3, 227, 227), cnnx.zeros(55, 55, 1, 3, 11, 11)
    >>> cnnx.functional.locally_connected2d(x, weight, stride=4).shape
    (1, 1, 55, 55)
)";

constexpr const char* kLocallyConnectedLayerDoc =
    R"(A Conv2d whose filters are not shared: each output position has its own.

Args:
    in_channels: channels of the input.
    out_channels: number of filters at each position.
    kernel_size: height and width of the filters; one integer stands for both, here and below.
    input_size: height and width of the images: the number of weights depends on it.
    stride: step between windows.
    padding: zeros around the input: an int, (h, w), (top, bottom, left, right), "same" or "valid".
    dilation: step between the values within a window.
    bias: whether to add a learned value to each output.
    fit: what happens when the windows do not fit the input: "floor", "ceil" or "strict". Default: the global fit mode at
        the time of construction.
    dtype: of the parameters: "float32", "float64", "float16" or "bfloat16".

Shape:
    (N, in_channels, *input_size) to (N, out_channels, OH, OW), OH = (H + padding - dilation * (R - 1) - 1) / stride + 1.
    weight: (OH, OW, out_channels, in_channels, R, S), uniform in +-1 / sqrt(in_channels * R * S) at first, like bias:
    (out_channels, OH, OW). Do not initialise it by cnnx.init's fans, which take the first two axes for channels.

Raises:
    ValueError: if a size is out of range, or the filters are larger than the padded input.

Example:
    >>> import cnnx
    >>> layer = cnnx.LocallyConnected2d(3, 96, 11, 227, stride=4)  # AlexNet's first layer without sharing
    >>> layer.weight.numel() + layer.bias.numel()
    105705600

Source: CS231n notes, "Convolutional Neural Networks", section Parameter Sharing.
)";

constexpr const char* kIm2colDoc = R"(The windows of images as the columns of a matrix, in the layout of torch's unfold.

Args:
    x: images (N, C, H, W) or (C, H, W).
    kernel_size: int or (h, w).
    stride: int or (h, w).
    padding: zeros around the images, as in conv2d.
    dilation: distance between window cells.
    fit: "floor", "ceil" or "strict"; see conv2d.

Shape:
    (N, C * R * S, OH * OW), without N for (C, H, W), with OH and OW as in conv2d.

Returns:
    The columns; conv2d is weight.reshape(K, -1) times them. The library's own convolutions never make all of them.

Raises:
    ValueError: for a window larger than the padded image, and numbers out of range.

Source:
    CS231n, "Convolutional Neural Networks", section Implementation as Matrix Multiplication.

Example:
    >>> import cnnx
    >>> cnnx.functional.im2col(cnnx.zeros(1, 3, 227, 227), 11, stride=4).shape
    (1, 363, 3025)
)";

constexpr const char* kCol2imDoc =
    R"(Adds windows, the columns of a matrix, up to images: the transpose of im2col, torch's fold.

Args:
    x: columns (N, C * R * S, OH * OW), or without N.
    output_size: height and width of the images.
    kernel_size: int or (h, w).
    stride: int or (h, w).
    padding: int, (h, w) or (top, bottom, left, right), cut off the images.
    dilation: distance between window cells.
    fit: "floor", "ceil" or "strict"; see conv2d.

Shape:
    (N, C, *output_size), without N for two axes.

Returns:
    The images: where windows overlap, the sum of their values.

Raises:
    ValueError: if the columns are not those of output_size and kernel_size.

Source:
    CS231n, "Convolutional Neural Networks", section Implementation as Matrix Multiplication.

Example:
    >>> import cnnx
    >>> columns = cnnx.functional.im2col(cnnx.ones(1, 1, 3, 3), 2)
    >>> cnnx.functional.col2im(columns, 3, 2).tolist()  # how many windows see each pixel
    [[[[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]]]
)";

void bind_functions(py::module_& m) {
  m.def(
      "conv_transpose2d",
      [](const Tensor& x, const Tensor& weight, const OptionalTensor& bias, Pair stride, const Padding& padding,
         Pair output_padding, int64_t groups, Pair dilation) {
        return conv_transpose2d(x, weight, or_undefined(bias), {stride, padding, output_padding, groups, dilation});
      },
      py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(), py::arg("stride") = Pair(1),
      py::arg("padding") = Padding(0), py::arg("output_padding") = Pair(0), py::arg("groups") = 1,
      py::arg("dilation") = Pair(1), NoGil(), kConvTransposeDoc);
  m.def(
      "locally_connected2d",
      [](const Tensor& x, const Tensor& weight, const OptionalTensor& bias, Pair stride, const Padding& padding,
         Pair dilation,
         Fit fit) { return locally_connected2d(x, weight, or_undefined(bias), {stride, padding, dilation, fit}); },
      py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(), py::arg("stride") = Pair(1),
      py::arg("padding") = Padding(0), py::arg("dilation") = Pair(1), py::arg("fit") = py::none(), NoGil(),
      kLocallyConnectedDoc);
  m.def(
      "im2col",
      [](const Tensor& x, Pair kernel_size, Pair stride, const Padding& padding, Pair dilation, Fit fit) {
        return im2col(x, kernel_size, {stride, padding, dilation, fit});
      },
      py::arg("x"), py::arg("kernel_size"), py::arg("stride") = Pair(1), py::arg("padding") = Padding(0),
      py::arg("dilation") = Pair(1), py::arg("fit") = py::none(), NoGil(), kIm2colDoc);
  m.def(
      "col2im",
      [](const Tensor& x, Pair output_size, Pair kernel_size, Pair stride, const Padding& padding, Pair dilation,
         Fit fit) { return col2im(x, output_size, kernel_size, {stride, padding, dilation, fit}); },
      py::arg("x"), py::arg("output_size"), py::arg("kernel_size"), py::arg("stride") = Pair(1),
      py::arg("padding") = Padding(0), py::arg("dilation") = Pair(1), py::arg("fit") = py::none(), NoGil(), kCol2imDoc);
}

void bind_layers_of_filters(py::module_& m) {
  bind_layer<ConvTranspose2d>(m, "ConvTranspose2d", kConvTransposeLayerDoc)
      .def(py::init([](int64_t in_channels, int64_t out_channels, Pair kernel_size, Pair stride, const Padding& padding,
                       Pair output_padding, int64_t groups, bool bias, Pair dilation, const DTypeArg& dtype) {
             return std::make_unique<PyModule<ConvTranspose2d>>(
                 in_channels, out_channels, kernel_size,
                 ConvTranspose2dOptions{stride, padding, output_padding, groups, bias, dilation, dtype.value});
           }),
           py::arg("in_channels"), py::arg("out_channels"), py::arg("kernel_size"), py::arg("stride") = 1,
           py::arg("padding") = 0, py::arg("output_padding") = 0, py::arg("groups") = 1, py::arg("bias") = true,
           py::arg("dilation") = 1, py::arg("dtype") = "float32");
  bind_layer<LocallyConnected2d>(m, "LocallyConnected2d", kLocallyConnectedLayerDoc)
      .def(py::init([](int64_t in_channels, int64_t out_channels, Pair kernel_size, Pair input_size, Pair stride,
                       const Padding& padding, Pair dilation, bool bias, Fit fit, const DTypeArg& dtype) {
             return std::make_unique<PyModule<LocallyConnected2d>>(
                 in_channels, out_channels, kernel_size, input_size,
                 LocallyConnected2dOptions{stride, padding, dilation, bias, fit, dtype.value});
           }),
           py::arg("in_channels"), py::arg("out_channels"), py::arg("kernel_size"), py::arg("input_size"),
           py::arg("stride") = 1, py::arg("padding") = 0, py::arg("dilation") = 1, py::arg("bias") = true,
           py::arg("fit") = py::none(), py::arg("dtype") = "float32");
}

}  // namespace

void bind_convolutions(py::module_& m) {
  bind_functions(m);
  bind_layers_of_filters(m);
}

}  // namespace cnnx::bindings
