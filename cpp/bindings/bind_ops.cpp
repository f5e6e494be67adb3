// The functions behind cnnx.functional that no bind_<family>.cpp has.
#include "casters.h"

namespace cnnx::bindings {

void bind_activation_functions(py::module_& m);  // bind_activation.cpp
void bind_pooling_functions(py::module_& m);     // bind_pooling.cpp

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
    alpha: weight of their mean square. AlexNet's paper weighs the sum: its alpha times size goes here, size=5, alpha=5e-4,
        k=2. GoogLeNet's first version has size=5 and the defaults.
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
        R"(Pins one convolution algorithm for all convolutions that it can compute; others are chosen as before.

Args:
    name: one of conv_algorithms(), or "auto", as at first: the algorithm with the least estimated cost.

Raises:
    ValueError: for another name.

Example:
    >>> import cnnx
    >>> cnnx.set_conv_algorithm("im2col")
    >>> cnnx.conv_algorithm()
    'im2col'
    >>> cnnx.set_conv_algorithm("auto")
)");
  m.def("conv_algorithm", &conv_algorithm, R"(The convolution algorithm that set_conv_algorithm has pinned.

Returns:
    Its name, or "auto".

Example:
    >>> import cnnx
    >>> cnnx.conv_algorithm()
    'auto'
)");
  m.def("conv_algorithms", &conv_algorithms, R"(The convolution algorithms, for set_conv_algorithm.

Returns:
    Their names; the last one takes every geometry.

Example:
    >>> import cnnx
    >>> cnnx.conv_algorithms()[-1]
    'im2col'
)");
  m.def("get_fit_mode", &fit_mode, R"(What convolution and pooling do when the stride does not fit; see fit_mode.

Returns:
    "floor", "ceil" or "strict".

Example:
    >>> import cnnx
    >>> with cnnx.fit_mode("strict"):
    ...     cnnx.get_fit_mode()
    'strict'
)");
  m.def("_set_fit_mode", &set_fit_mode, py::arg("fit"));
}

void bind_elementwise(py::module_& m) {
  m.def("matmul", &matmul, py::arg("a"), py::arg("b"), NoGil(),
        R"(Matrix product with NumPy's rules for vectors and batches.

Args:
    a: (..., n, k), or (k).
    b: (..., k, m), or (k).

Shape:
    (..., n, m), the leading axes broadcast; a vector's axis is left out.

Raises:
    ValueError: for lengths that do not match, and tensors without axes.

Example:
    >>> import cnnx
    >>> cnnx.matmul(cnnx.ones(5, 2, 3), cnnx.ones(3)).shape
    (5, 2)
)");
}

void bind_others(py::module_& m) {
  m.def(
      "linear",
      [](const Tensor& x, const Tensor& weight, const OptionalTensor& bias) {
        return linear(x, weight, or_undefined(bias));
      },
      py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(), NoGil(),
      R"(The fully-connected layer: x times weight transposed, plus bias.

Args:
    x: (..., in_features).
    weight: (out_features, in_features).
    bias: (out_features), or None.

Shape:
    (..., out_features).

Raises:
    ValueError: for shapes or dtypes that do not match.

Source:
    CS231n, "Convolutional Neural Networks", section Fully-connected layer.

Example:
    >>> import cnnx
    >>> cnnx.functional.linear(cnnx.ones(1, 3), cnnx.ones(2, 3), cnnx.tensor([0.0, 1.0])).tolist()
    [[3.0, 4.0]]
)");
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
        R"(Zeroes values at random and scales the others by 1 / (1 - p).

Args:
    x: any shape.
    p: probability that a value becomes zero.
    training: otherwise the result is x itself.

Shape:
    Output as x.

Raises:
    ValueError: for p outside [0, 1].

Source:
    Srivastava et al., "Dropout" (2014).

Example:
    >>> import cnnx
    >>> sorted(set(cnnx.functional.dropout(cnnx.ones(100), 0.5).tolist()))
    [0.0, 2.0]
)");
  m.def(
      "concat", [](const std::vector<Tensor>& tensors, int dim) { return concat(tensors, dim); }, py::arg("tensors"),
      py::arg("dim") = 0, NoGil(), R"(Joins tensors along an existing axis.

Args:
    tensors: of one dtype, and of one shape but for the axis.
    dim: the axis.

Raises:
    ValueError: for no tensors, and for shapes or dtypes that do not match.

Example:
    >>> import cnnx
    >>> cnnx.concat([cnnx.zeros(1, 2, 4, 4), cnnx.zeros(1, 3, 4, 4)], dim=1).shape
    (1, 5, 4, 4)
)");
}

void bind_settings(py::module_& m) {
  m.def("set_num_threads", &set_num_threads, py::arg("count"),
        R"(Sets how many threads one operation may use. Results are the same bit for bit for any number.

Args:
    count: at least 1.

Raises:
    ValueError: for a count out of range.

Example:
    >>> import cnnx
    >>> before = cnnx.get_num_threads()
    >>> cnnx.set_num_threads(1)
    >>> cnnx.get_num_threads()
    1
    >>> cnnx.set_num_threads(before)
)");
  m.def("get_num_threads", &num_threads,
        R"(Threads that one operation may use.

Returns:
    The number; at first the environment variable CNNX_NUM_THREADS, else what the machine grants the process.

Example:
    >>> import cnnx
    >>> cnnx.get_num_threads() >= 1
    True
)");
  m.def("cpu_isa", &cpu_isa_name,
        R"(The instruction set of the CPU kernels in use. The environment variable CNNX_ISA asks for a lower one.

Returns:
    "generic", "avx2" or "avx512".

Example:
    >>> import cnnx
    >>> cnnx.cpu_isa() in ("generic", "avx2", "avx512")
    True
)");
  m.def("_cuda_is_available", &cuda_is_available);
}

}  // namespace

void bind_ops(py::module_& m) {
  bind_convolution(m);
  bind_pooling_functions(m);
  bind_activation_functions(m);
  bind_elementwise(m);
  bind_others(m);
  bind_settings(m);
}

}  // namespace cnnx::bindings
