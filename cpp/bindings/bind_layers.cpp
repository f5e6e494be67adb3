// Every layer and loss, with torch.nn's argument names, order and defaults.
#include "module_arguments.h"

namespace cnnx::bindings {

void bind_activation_layers(py::module_& m);  // bind_activation.cpp

namespace {

template <class L>
LayerClass<L> bind_loss_layer(py::module_& m, const char* name, const char* doc) {
  LayerClass<L> cls(m, name, doc, module_type_setup());
  cls.def(
         "forward", [](L& self, const Tensor& input, const Tensor& target) { return self.L::forward(input, target); },
         py::arg("input"), py::arg("target"), NoGil(), "The loss of the input.")
      .def("extra_repr", [](const L&) { return ""; }, "Nothing, as in torch.");
  return cls;
}

void bind_conv(py::module_& m) {
  bind_layer<Conv2d>(m, "Conv2d", R"(Slides a bank of filters over an image.

Args:
    in_channels: channels of the input.
    out_channels: number of filters.
    kernel_size: height and width of the filters; one integer stands for both, here and below.
    stride: step between windows.
    padding: zeros around the input: an int, (h, w), (top, bottom, left, right), "same" or "valid".
    dilation: step between the values within a window.
    groups: channels are split into so many groups that do not see each other; in_channels makes a depthwise convolution.
    bias: whether to add a learned value to each output channel.
    fit: what happens when the windows do not fit the input: "floor", "ceil" or "strict". Default: the global fit mode.
    dtype: of the parameters: "float32", "float64", "float16" or "bfloat16".

Shape:
    (N, in_channels, H, W) to (N, out_channels, OH, OW), OH = (H + padding - dilation * (R - 1) - 1) / stride + 1, and so the width.
    weight: (out_channels, in_channels / groups, R, S), uniform in +-1 / sqrt(in_channels / groups * R * S) at first, like bias:
    (out_channels,).

Raises:
    ValueError: if groups does not divide the channels, or a size is not positive.

Example:
    >>> import cnnx
    >>> conv = cnnx.Conv2d(3, 8, 3, stride=2, padding=1)
    >>> conv(cnnx.randn(2, 3, 32, 32)).shape
    (2, 8, 16, 16)
    >>> conv
    Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))

Source: CS231n notes, "Convolutional Neural Networks".
)")
      .def(py::init([](int64_t in_channels, int64_t out_channels, Pair kernel_size, Pair stride, const Padding& padding,
                       Pair dilation, int64_t groups, bool bias, Fit fit, const DTypeArg& dtype) {
             return std::make_unique<PyModule<Conv2d>>(
                 in_channels, out_channels, kernel_size,
                 Conv2dOptions{stride, padding, dilation, groups, bias, fit, dtype.value});
           }),
           py::arg("in_channels"), py::arg("out_channels"), py::arg("kernel_size"), py::arg("stride") = 1,
           py::arg("padding") = 0, py::arg("dilation") = 1, py::arg("groups") = 1, py::arg("bias") = true,
           py::arg("fit") = py::none(), py::arg("dtype") = "float32");
  bind_layer<Linear>(m, "Linear", R"(A fully connected layer: x times weight transposed, plus bias.

Args:
    in_features: length of the last axis of the input.
    out_features: length of the last axis of the output.
    bias: whether to add a learned value to each output.
    dtype: of the parameters: "float32", "float64", "float16" or "bfloat16".

Shape:
    (..., in_features) to (..., out_features). weight: (out_features, in_features), uniform in +-1 / sqrt(in_features) at
    first, like bias: (out_features,).

Example:
    >>> import cnnx
    >>> cnnx.Linear(20, 5)(cnnx.randn(3, 20)).shape
    (3, 5)
)")
      .def(py::init([](int64_t in_features, int64_t out_features, bool bias, const DTypeArg& dtype) {
             return std::make_unique<PyModule<Linear>>(in_features, out_features, LinearOptions{bias, dtype.value});
           }),
           py::arg("in_features"), py::arg("out_features"), py::arg("bias") = true, py::arg("dtype") = "float32");
}

void bind_pooling(py::module_& m) {
  bind_layer<MaxPool2d>(m, "MaxPool2d", R"(The largest value of each window.

Args:
    kernel_size: height and width of the window; one integer stands for both.
    stride: step between windows. Default: kernel_size.
    padding: minus infinity around the input.
    dilation: step between the values within a window.
    fit: what happens when the windows do not fit the input: "floor", "ceil" or "strict". Default: the global fit mode.

Shape:
    (N, C, H, W) to (N, C, OH, OW), OH = (H + padding - dilation * (R - 1) - 1) / stride + 1, and so the width.

Example:
    >>> import cnnx
    >>> cnnx.MaxPool2d(2)(cnnx.randn(1, 3, 8, 8)).shape
    (1, 3, 4, 4)
)")
      .def(py::init([](Pair kernel_size, std::optional<Pair> stride, const Padding& padding, Pair dilation, Fit fit) {
             return std::make_unique<PyModule<MaxPool2d>>(kernel_size, MaxPoolOptions{stride, padding, dilation, fit});
           }),
           py::arg("kernel_size"), py::arg("stride") = py::none(), py::arg("padding") = 0, py::arg("dilation") = 1,
           py::arg("fit") = py::none());
  bind_layer<AvgPool2d>(m, "AvgPool2d", R"(The mean of each window.

Args:
    kernel_size: height and width of the window; one integer stands for both.
    stride: step between windows. Default: kernel_size.
    padding: zeros around the input.
    fit: what happens when the windows do not fit the input: "floor", "ceil" or "strict". Default: the global fit mode.
    count_include_pad: whether the padding counts in the mean.

Shape:
    (N, C, H, W) to (N, C, OH, OW), OH = (H + padding - R) / stride + 1, and so the width.

Example:
    >>> import cnnx
    >>> cnnx.AvgPool2d(3, stride=2, padding=1)(cnnx.randn(1, 3, 8, 8)).shape
    (1, 3, 4, 4)
)")
      .def(py::init([](Pair kernel_size, std::optional<Pair> stride, const Padding& padding, Fit fit,
                       bool count_include_pad) {
             return std::make_unique<PyModule<AvgPool2d>>(kernel_size,
                                                          AvgPoolOptions{stride, padding, fit, count_include_pad});
           }),
           py::arg("kernel_size"), py::arg("stride") = py::none(), py::arg("padding") = 0, py::arg("fit") = py::none(),
           py::arg("count_include_pad") = true);
  bind_layer<LPPool2d>(m, "LPPool2d", R"(The p-norm of each window: (sum of |x|^p)^(1/p).

Args:
    norm_type: p.
    kernel_size: height and width of the window; one integer stands for both.
    stride: step between windows. Default: kernel_size.
    fit: what happens when the windows do not fit the input: "floor", "ceil" or "strict". Default: the global fit mode.

Shape:
    (N, C, H, W) to (N, C, OH, OW), OH = (H - R) / stride + 1, and so the width.

Example:
    >>> import cnnx
    >>> cnnx.LPPool2d(2, 2)(cnnx.ones(1, 1, 4, 4)).tolist()
    [[[[2.0, 2.0], [2.0, 2.0]]]]
)")
      .def(py::init([](double norm_type, Pair kernel_size, std::optional<Pair> stride, Fit fit) {
             return std::make_unique<PyModule<LPPool2d>>(norm_type, kernel_size, LPPoolOptions{stride, fit});
           }),
           py::arg("norm_type"), py::arg("kernel_size"), py::arg("stride") = py::none(), py::arg("fit") = py::none());
  bind_layer<AdaptiveAvgPool2d>(m, "AdaptiveAvgPool2d", R"(Means of windows chosen so that the output has a given size.

Args:
    output_size: height and width of the output; one integer stands for both.

Shape:
    (N, C, H, W) to (N, C, *output_size).

Example:
    >>> import cnnx
    >>> cnnx.AdaptiveAvgPool2d(1)(cnnx.randn(2, 8, 7, 5)).shape
    (2, 8, 1, 1)
)")
      .def(py::init([](Pair output_size) { return std::make_unique<PyModule<AdaptiveAvgPool2d>>(output_size); }),
           py::arg("output_size"));
  bind_layer<AdaptiveMaxPool2d>(m, "AdaptiveMaxPool2d",
                                R"(Largest values of windows chosen so that the output has a given size.

Args:
    output_size: height and width of the output; one integer stands for both.

Shape:
    (N, C, H, W) to (N, C, *output_size).

Example:
    >>> import cnnx
    >>> cnnx.AdaptiveMaxPool2d((2, 3))(cnnx.randn(2, 8, 7, 5)).shape
    (2, 8, 2, 3)
)")
      .def(py::init([](Pair output_size) { return std::make_unique<PyModule<AdaptiveMaxPool2d>>(output_size); }),
           py::arg("output_size"));
}

void bind_normalization(py::module_& m) {
  bind_layer<BatchNorm2d>(m, "BatchNorm2d", R"(Normalises each channel over the batch, then scales and shifts it.

In training the batch's mean and variance are used, and running ones kept for evaluation: running = (1 - momentum) * running
+ momentum * batch's, with the unbiased variance.

Args:
    num_features: number of channels.
    eps: added to the variance.
    momentum: weight of the new statistics in the running ones.
    affine: whether to learn a scale (weight) and a shift (bias) for each channel.
    track_running_stats: whether to keep running statistics; without them the batch's are always used.
    dtype: of the parameters: "float32", "float64", "float16" or "bfloat16".

Shape:
    (N, num_features, H, W) to the same.

Example:
    >>> import cnnx
    >>> norm = cnnx.BatchNorm2d(3)
    >>> norm(cnnx.randn(8, 3, 4, 4)).shape
    (8, 3, 4, 4)
    >>> norm.num_batches_tracked.item()
    1

Source: Ioffe and Szegedy, "Batch Normalization" (2015).
)")
      .def(py::init([](int64_t num_features, double eps, double momentum, bool affine, bool track_running_stats,
                       const DTypeArg& dtype) {
             return std::make_unique<PyModule<BatchNorm2d>>(
                 num_features, BatchNorm2dOptions{eps, momentum, affine, track_running_stats, dtype.value});
           }),
           py::arg("num_features"), py::arg("eps") = 1e-5, py::arg("momentum") = 0.1, py::arg("affine") = true,
           py::arg("track_running_stats") = true, py::arg("dtype") = "float32");
  bind_layer<LocalResponseNorm>(m, "LocalResponseNorm", R"(Normalises each value by its neighbouring channels.

Args:
    size: number of neighbouring channels.
    alpha: weight of their mean square.
    beta: exponent.
    k: added to the weighted mean square. AlexNet has size=5, alpha=5e-4, beta=0.75, k=2, as its paper's alpha of 1e-4 weighs
        the sum; GoogLeNet's first version has size=5 and the defaults.

Shape:
    (N, C, ...) to the same: x / (k + alpha * mean of x ** 2 over the window) ** beta.

Example:
    >>> import cnnx
    >>> alexnet = cnnx.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    >>> alexnet(cnnx.randn(1, 96, 55, 55)).shape
    (1, 96, 55, 55)

Source: Krizhevsky, Sutskever and Hinton (2012), section 3.3.
)")
      .def(py::init([](int64_t size, double alpha, double beta, double k) {
             return std::make_unique<PyModule<LocalResponseNorm>>(size, LocalResponseNormOptions{alpha, beta, k});
           }),
           py::arg("size"), py::arg("alpha") = 1e-4, py::arg("beta") = 0.75, py::arg("k") = 1.0);
  bind_layer<Dropout>(
      m, "Dropout",
      R"(Zeroes values at random in training and scales the others by 1 / (1 - p); does nothing in evaluation.

Args:
    p: probability that a value becomes zero.

Shape:
    Any to the same.

Example:
    >>> import cnnx
    >>> cnnx.Dropout(0.2).eval()(cnnx.ones(2)).tolist()
    [1.0, 1.0]

Source: Srivastava et al., "Dropout" (2014).
)")
      .def(py::init([](double p) { return std::make_unique<PyModule<Dropout>>(p); }), py::arg("p") = 0.5);
  bind_layer<Flatten>(m, "Flatten", R"(Merges a run of axes into one.

Args:
    start_dim: first axis.
    end_dim: last axis.

Shape:
    (N, C, H, W) to (N, C * H * W) by default.

Example:
    >>> import cnnx
    >>> cnnx.Flatten()(cnnx.randn(2, 3, 4, 5)).shape
    (2, 60)
)")
      .def(py::init([](int64_t start_dim, int64_t end_dim) {
             return std::make_unique<PyModule<Flatten>>(start_dim, end_dim);
           }),
           py::arg("start_dim") = 1, py::arg("end_dim") = -1);
}

void bind_losses(py::module_& m) {
  bind_loss_layer<CrossEntropyLoss>(m, "CrossEntropyLoss", R"(Cross-entropy between scores (logits) and class numbers.

Args:
    weight: one weight a class; becomes the buffer ``weight``.
    ignore_index: targets of this value do not count.
    reduction: "mean", "sum" or "none".
    label_smoothing: share of the target that is spread over all classes.

Shape:
    input (N, classes, ...), target (N, ...) of int64, to a scalar, or (N, ...) without reduction.

Example:
    >>> import cnnx
    >>> loss = cnnx.CrossEntropyLoss()
    >>> round(loss(cnnx.zeros(2, 10), cnnx.tensor([3, 7])).item(), 4)
    2.3026
)")
      .def(py::init([](const std::optional<Tensor>& weight, int64_t ignore_index, Reduction reduction,
                       double label_smoothing) {
             return std::make_unique<PyModule<CrossEntropyLoss>>(
                 CrossEntropyOptions{or_undefined(weight), ignore_index, reduction, label_smoothing});
           }),
           py::arg("weight") = py::none(), py::arg("ignore_index") = -100, py::arg("reduction") = "mean",
           py::arg("label_smoothing") = 0.0);
  bind_loss_layer<MultiMarginLoss>(m, "MultiMarginLoss",
                                   R"(The multiclass hinge (SVM) loss in torch's form, divided by the number of classes.

Args:
    p: 1, or 2 for the squared hinge.
    margin: by how much the right score should exceed the others.
    weight: one weight a class; becomes the buffer ``weight``.
    reduction: "mean", "sum" or "none".

Shape:
    input (N, classes), target (N,) of int64, to a scalar, or (N,) without reduction.

Example:
    >>> import cnnx
    >>> cnnx.MultiMarginLoss()(cnnx.zeros(1, 4), cnnx.tensor([2])).item()
    0.75
)")
      .def(py::init([](int64_t p, double margin, const std::optional<Tensor>& weight, Reduction reduction) {
             return std::make_unique<PyModule<MultiMarginLoss>>(
                 MultiMarginOptions{p, margin, or_undefined(weight), reduction});
           }),
           py::arg("p") = 1, py::arg("margin") = 1.0, py::arg("weight") = py::none(), py::arg("reduction") = "mean");
  bind_loss_layer<MSELoss>(m, "MSELoss", R"(The squared difference of input and target.

Args:
    reduction: "mean", "sum" or "none".

Shape:
    Two of one shape, to a scalar, or that shape without reduction.

Example:
    >>> import cnnx
    >>> cnnx.MSELoss()(cnnx.tensor([1.0, 2.0]), cnnx.tensor([1.0, 4.0])).item()
    2.0
)")
      .def(py::init([](Reduction reduction) { return std::make_unique<PyModule<MSELoss>>(reduction); }),
           py::arg("reduction") = "mean");
}

}  // namespace

void bind_layers(py::module_& m) {
  bind_conv(m);
  bind_pooling(m);
  bind_normalization(m);
  bind_activation_layers(m);
  bind_losses(m);
}

}  // namespace cnnx::bindings
