// The functions behind cnnx.functional, but for losses.
#include "casters.h"

namespace cnnx::bindings {
namespace {

using OptionalTensor = std::optional<Tensor>;

constexpr const char* kConv2dDoc =
    R"(Two-dimensional convolution (cross-correlation, as in all deep-learning libraries).

Args:
    x: images (N, C, H, W).
    weight: filters (K, C / groups, R, S).
    bias: one value a filter (K), or None.
    stride: int or (h, w).
    padding: int, (h, w), (top, bottom, left, right), "same" (stride 1 only) or "valid".
    dilation: distance between filter cells, int or (h, w); 1 is a dense filter.
    groups: the channels are cut into this many groups that do not see each other; C gives a depthwise convolution.
    fit: what to do when the stride does not divide the way: "floor" crops, "ceil" pads, "strict" raises. None follows
        ``cnnx.fit_mode``, which is "floor" at first.

Shape:
    (N, K, OH, OW) with OH = (H + top + bottom - dilation * (R - 1) - 1) / stride + 1, likewise OW. In the notes' letters,
    W2 = (W1 - F + 2P) / S + 1.

Returns:
    The output volume.

Raises:
    ValueError: for shapes that do not match, a filter larger than the padded image, or, with "strict", a stride that does
        not fit.

Source:
    CS231n, "Convolutional Neural Networks", section Convolutional Layer.

Example:
    >>> import cnnx
    >>> images, filters = cnnx.zeros(1, 3, 227, 227), cnnx.zeros(96, 3, 11, 11)  # AlexNet's first layer
    >>> cnnx.functional.conv2d(images, filters, stride=4).shape
    (1, 96, 55, 55)
)";

constexpr const char* kMaxPoolDoc = R"(Largest value of each window; padding never wins.

Args:
    x: images (N, C, H, W) or (C, H, W).
    kernel_size: int or (h, w).
    stride: int or (h, w); default kernel_size.
    padding: at most half the kernel.
    dilation: distance between window cells.
    fit: "floor", "ceil" or "strict"; see conv2d.

Shape:
    (N, C, OH, OW) with OH = (H + 2 * padding - dilation * (kernel_size - 1) - 1) / stride + 1.

Returns:
    The pooled volume. Backward routes each gradient to the position of its maximum, the first of equals.

Raises:
    ValueError: for a window larger than the padded image or too much padding.

Source:
    CS231n, "Convolutional Neural Networks", section Pooling Layer.

Example:
    >>> import cnnx
    >>> cnnx.functional.max_pool2d(cnnx.zeros(1, 64, 224, 224), 2).shape
    (1, 64, 112, 112)
)";

constexpr const char* kBatchNormDoc = R"(Batch normalization over all axes but the second.

Args:
    x: (N, C, ...).
    running_mean: (C), used in evaluation and updated in training; None to do without.
    running_var: (C), likewise.
    weight: scale (C), or None.
    bias: shift (C), or None.
    training: normalise with the batch's own statistics.
    momentum: weight of the new statistics in the running ones.
    eps: added to the variance.

Shape:
    Output as x: (x - mean) / sqrt(var + eps) * weight + bias.

Returns:
    The normalised tensor. The running variance takes the unbiased estimate, as in torch.

Raises:
    ValueError: for mismatched shapes, or one value a channel in training.

Source:
    Ioffe and Szegedy (2015).

Example:
    >>> import cnnx
    >>> y = cnnx.functional.batch_norm(cnnx.randn(8, 4, 5, 5), None, None, training=True)
    >>> abs(y.mean().item()) < 1e-6
    True
)";

constexpr const char* kLocalResponseNormDoc = R"(Local response normalization across channels, as torch defines it.

Args:
    x: (N, C, ...).
    size: number of neighbouring channels: size // 2 before each, (size - 1) // 2 behind.
    alpha: weight of their mean square. AlexNet's paper weighs the sum: its alpha times size goes here.
    beta: exponent.
    k: added to the weighted mean square.

Shape:
    Output as x: x / (k + alpha * mean of x ** 2 over the window) ** beta; channels that do not exist count as zero.

Returns:
    The normalised tensor.

Raises:
    ValueError: for fewer than three axes, and numbers out of range.

Source:
    Krizhevsky, Sutskever and Hinton (2012), section 3.3.

Example:
    >>> import cnnx
    >>> cnnx.functional.local_response_norm(cnnx.ones(1, 1, 1, 1), 5, alpha=5.0, beta=1.0).item()
    0.5
)";

void bind_convolution(py::module_& m) {
  m.def(
      "conv2d",
      [](const Tensor& x, const Tensor& weight, const OptionalTensor& bias, Pair stride, const Padding& padding,
         Pair dilation, int64_t groups,
         Fit fit) { return conv2d(x, weight, or_undefined(bias), {stride, padding, dilation, groups, fit}); },
      py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(), py::arg("stride") = Pair(1),
      py::arg("padding") = Padding(0), py::arg("dilation") = Pair(1), py::arg("groups") = 1,
      py::arg("fit") = py::none(), NoGil(), kConv2dDoc);
  m.def("set_conv_algorithm", &set_conv_algorithm, py::arg("name"),
        "Pins one convolution algorithm for the geometries it accepts; \"auto\" (the default) takes the one with the "
        "least estimated cost.");
  m.def("conv_algorithm", &conv_algorithm, "The pinned convolution algorithm, or \"auto\".");
  m.def("conv_algorithms", &conv_algorithms, "Names of the convolution algorithms; the last takes every geometry.");
  m.def("get_fit_mode", &fit_mode, "The global fit mode: \"floor\", \"ceil\" or \"strict\".");
  m.def("_set_fit_mode", &set_fit_mode, py::arg("fit"));
}

void bind_pooling(py::module_& m) {
  m.def(
      "max_pool2d",
      [](const Tensor& x, Pair kernel_size, std::optional<Pair> stride, const Padding& padding, Pair dilation,
         Fit fit) { return max_pool2d(x, kernel_size, {stride, padding, dilation, fit}); },
      py::arg("x"), py::arg("kernel_size"), py::arg("stride") = py::none(), py::arg("padding") = Padding(0),
      py::arg("dilation") = Pair(1), py::arg("fit") = py::none(), NoGil(), kMaxPoolDoc);
  m.def(
      "avg_pool2d",
      [](const Tensor& x, Pair kernel_size, std::optional<Pair> stride, const Padding& padding, Fit fit,
         bool count_include_pad) { return avg_pool2d(x, kernel_size, {stride, padding, fit, count_include_pad}); },
      py::arg("x"), py::arg("kernel_size"), py::arg("stride") = py::none(), py::arg("padding") = Padding(0),
      py::arg("fit") = py::none(), py::arg("count_include_pad") = true, NoGil(),
      "Mean of each window (N, C, H, W) -> (N, C, OH, OW). ``count_include_pad`` counts padding as zeros, as torch "
      "does; ONNX does not.");
  m.def(
      "lp_pool2d",
      [](const Tensor& x, double norm_type, Pair kernel_size, std::optional<Pair> stride, Fit fit) {
        return lp_pool2d(x, norm_type, kernel_size, {stride, fit});
      },
      py::arg("x"), py::arg("norm_type"), py::arg("kernel_size"), py::arg("stride") = py::none(),
      py::arg("fit") = py::none(), NoGil(),
      "p-norm of each window, (sum |x|^p)^(1/p); norm_type 2 is the notes' L2 pooling. Takes |x| for odd p, unlike "
      "torch.");
  m.def("adaptive_avg_pool2d", &adaptive_avg_pool2d, py::arg("x"), py::arg("output_size"), NoGil(),
        "Mean over a grid of output_size windows that cover the image; output_size 1 is global average pooling.");
  m.def("adaptive_max_pool2d", &adaptive_max_pool2d, py::arg("x"), py::arg("output_size"), NoGil(),
        "Maximum over a grid of output_size windows that cover the image.");
}

void bind_activations(py::module_& m) {
  m.def("relu", &relu, py::arg("x"), NoGil(), "max(0, x).");
  m.def("add_relu", &add_relu, py::arg("a"), py::arg("b"), NoGil(),
        "relu(a + b) of two tensors of one shape, in one pass.");
  m.def("leaky_relu", &leaky_relu, py::arg("x"), py::arg("negative_slope") = 0.01, NoGil(),
        "x for x > 0, negative_slope * x otherwise.");
  m.def("sigmoid", &sigmoid, py::arg("x"), NoGil(), "1 / (1 + e^-x).");
  m.def("tanh", &cnnx::tanh, py::arg("x"), NoGil(), "Hyperbolic tangent.");
  m.def(
      "gelu",
      [](const Tensor& x, const std::string& approximate) {
        if (approximate != "none" && approximate != "tanh") {
          throw std::invalid_argument("[gelu] approximate must be \"none\" or \"tanh\"; got \"" + approximate + "\".");
        }
        return gelu(x, approximate == "tanh");
      },
      py::arg("x"), py::arg("approximate") = "none", NoGil(),
      "x times the standard normal distribution function of x (Hendrycks and Gimpel, 2016).");
  m.def("silu", &silu, py::arg("x"), NoGil(), "x * sigmoid(x).");
  m.def("softmax", &softmax, py::arg("x"), py::arg("dim") = -1, NoGil(), "e^x normalised to sum 1 along an axis.");
  m.def("log_softmax", &log_softmax, py::arg("x"), py::arg("dim") = -1, NoGil(),
        "Logarithm of softmax, computed stably.");
}

void bind_elementwise(py::module_& m) {
  m.def("exp", &cnnx::exp, py::arg("x"), NoGil(), "Element-wise e^x.");
  m.def("log", &cnnx::log, py::arg("x"), NoGil(), "Element-wise natural logarithm.");
  m.def("sqrt", &cnnx::sqrt, py::arg("x"), NoGil(), "Element-wise square root.");
  m.def("abs", &cnnx::abs, py::arg("x"), NoGil(), "Element-wise absolute value.");
  m.def("clip", &clip, py::arg("x"), py::arg("min") = py::none(), py::arg("max") = py::none(), NoGil(),
        "Element-wise limit to [min, max].");
  m.def("matmul", &matmul, py::arg("a"), py::arg("b"), NoGil(),
        "Matrix product with NumPy's rules for vectors and batches.");
}

void bind_others(py::module_& m) {
  m.def(
      "linear",
      [](const Tensor& x, const Tensor& weight, const OptionalTensor& bias) {
        return linear(x, weight, or_undefined(bias));
      },
      py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(), NoGil(),
      "x (..., in) times weight (out, in) transposed, plus bias (out): the fully-connected layer.");
  m.def(
      "batch_norm",
      [](const Tensor& x, const OptionalTensor& running_mean, const OptionalTensor& running_var,
         const OptionalTensor& weight, const OptionalTensor& bias, bool training, double momentum, double eps) {
        return batch_norm(x, or_undefined(running_mean), or_undefined(running_var), or_undefined(weight),
                          or_undefined(bias), {training, momentum, eps});
      },
      py::arg("x"), py::arg("running_mean") = py::none(), py::arg("running_var") = py::none(),
      py::arg("weight") = py::none(), py::arg("bias") = py::none(), py::arg("training") = false,
      py::arg("momentum") = 0.1, py::arg("eps") = 1e-5, NoGil(), kBatchNormDoc);
  m.def(
      "local_response_norm",
      [](const Tensor& x, int64_t size, double alpha, double beta, double k) {
        return local_response_norm(x, size, {alpha, beta, k});
      },
      py::arg("x"), py::arg("size"), py::arg("alpha") = 1e-4, py::arg("beta") = 0.75, py::arg("k") = 1.0, NoGil(),
      kLocalResponseNormDoc);
  m.def("dropout", &dropout, py::arg("x"), py::arg("p") = 0.5, py::arg("training") = true, NoGil(),
        "Zeroes values with probability p and scales the others by 1 / (1 - p); the identity unless training.");
  m.def(
      "concat", [](const std::vector<Tensor>& tensors, int dim) { return concat(tensors, dim); }, py::arg("tensors"),
      py::arg("dim") = 0, NoGil(), "Joins tensors along an existing axis.");
}

void bind_settings(py::module_& m) {
  m.def("set_num_threads", &set_num_threads, py::arg("count"), "Threads that one operation may use.");
  m.def("get_num_threads", &num_threads,
        "Threads that one operation may use; at first CNNX_NUM_THREADS, else what the machine grants.");
  m.def("cpu_isa", &cpu_isa_name, "Instruction set of the CPU kernels in use: \"generic\", \"avx2\" or \"avx512\".");
  m.def("_cuda_is_available", &cuda_is_available);
}

}  // namespace

void bind_ops(py::module_& m) {
  bind_convolution(m);
  bind_pooling(m);
  bind_activations(m);
  bind_elementwise(m);
  bind_others(m);
  bind_settings(m);
}

}  // namespace cnnx::bindings
