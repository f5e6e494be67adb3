// Pooling as functions.
#include "casters.h"

namespace cnnx::bindings {
namespace {

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

constexpr const char* kAvgPoolDoc = R"(Mean of each window.

Args:
    x: images (N, C, H, W) or (C, H, W).
    kernel_size: int or (h, w).
    stride: int or (h, w); default kernel_size.
    padding: at most half the kernel.
    fit: "floor", "ceil" or "strict"; see conv2d.
    count_include_pad: whether padding counts in the mean as zeros, as in torch. In ONNX it does not by default.

Shape:
    (N, C, OH, OW) with OH = (H + 2 * padding - kernel_size) / stride + 1.

Returns:
    The pooled volume.

Raises:
    ValueError: for a window larger than the padded image or too much padding.

Source:
    CS231n, "Convolutional Neural Networks", section Pooling Layer.

Example:
    >>> import cnnx
    >>> x = cnnx.ones(1, 1, 2, 2)
    >>> cnnx.functional.avg_pool2d(x, 2, padding=1).tolist()
    [[[[0.25, 0.25], [0.25, 0.25]]]]
    >>> cnnx.functional.avg_pool2d(x, 2, padding=1, count_include_pad=False).tolist()
    [[[[1.0, 1.0], [1.0, 1.0]]]]
)";

constexpr const char* kLpPoolDoc = R"(p-norm of each window, (sum of \|x\|^p)^(1/p); p = 2 is the notes' L2 pooling.

Args:
    x: images (N, C, H, W) or (C, H, W).
    norm_type: p. Unlike torch, which gives NaN there, odd p take the absolute value of negative x, as in ONNX.
    kernel_size: int or (h, w).
    stride: int or (h, w); default kernel_size.
    fit: "floor", "ceil" or "strict"; see conv2d.

Shape:
    (N, C, OH, OW) with OH = (H - kernel_size) / stride + 1.

Returns:
    The pooled volume.

Raises:
    ValueError: for a window larger than the image, and p that is not positive.

Source:
    CS231n, "Convolutional Neural Networks", section Pooling Layer.

Example:
    >>> import cnnx
    >>> cnnx.functional.lp_pool2d(cnnx.tensor([[[[3.0, -4.0]]]]), 2, (1, 2)).item()
    5.0
)";

constexpr const char* kAdaptiveAvgDoc = R"(Mean over a grid of windows that cover the image.

Args:
    x: images (N, C, H, W) or (C, H, W).
    output_size: of the grid, int or (h, w); 1 is global average pooling. Window i of n along an axis of length H
        reaches from floor(i * H / n) to ceil((i + 1) * H / n).

Shape:
    (N, C, *output_size).

Returns:
    The pooled volume.

Raises:
    ValueError: for a size that is not positive, or a tensor that is no image.

Example:
    >>> import cnnx
    >>> cnnx.functional.adaptive_avg_pool2d(cnnx.arange(4, dtype="float32").reshape(1, 1, 2, 2), 1).item()
    1.5
)";

constexpr const char* kAdaptiveMaxDoc = R"(Maximum over a grid of windows that cover the image.

Args:
    x: images (N, C, H, W) or (C, H, W).
    output_size: of the grid, int or (h, w); see adaptive_avg_pool2d.

Shape:
    (N, C, *output_size).

Returns:
    The pooled volume. Backward routes each gradient to the position of its maximum.

Raises:
    ValueError: for a size that is not positive, or a tensor that is no image.

Example:
    >>> import cnnx
    >>> cnnx.functional.adaptive_max_pool2d(cnnx.arange(4, dtype="float32").reshape(1, 1, 2, 2), 1).item()
    3.0
)";

}  // namespace

void bind_pooling_functions(py::module_& m) {
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
      py::arg("fit") = py::none(), py::arg("count_include_pad") = true, NoGil(), kAvgPoolDoc);
  m.def(
      "lp_pool2d",
      [](const Tensor& x, double norm_type, Pair kernel_size, std::optional<Pair> stride, Fit fit) {
        return lp_pool2d(x, norm_type, kernel_size, {stride, fit});
      },
      py::arg("x"), py::arg("norm_type"), py::arg("kernel_size"), py::arg("stride") = py::none(),
      py::arg("fit") = py::none(), NoGil(), kLpPoolDoc);
  m.def("adaptive_avg_pool2d", &adaptive_avg_pool2d, py::arg("x"), py::arg("output_size"), NoGil(), kAdaptiveAvgDoc);
  m.def("adaptive_max_pool2d", &adaptive_max_pool2d, py::arg("x"), py::arg("output_size"), NoGil(), kAdaptiveMaxDoc);
}

}  // namespace cnnx::bindings
