// Upsampling and padding: functions and layers.
#include "module_arguments.h"

namespace cnnx::bindings {
namespace {

constexpr const char* kUpsampleDoc = R"(Resizes images, to any larger or smaller size, with torch's conventions.

Args:
    x: images (N, C, H, W).
    size: height and width of the output; one integer stands for both.
    scale_factor: output size over input size, rounded down, as an alternative to size; one number stands for both axes.
    mode: "nearest" takes input position floor(o / scale) for output position o; "bilinear" blends the neighbours of
        (o + 0.5) / scale - 0.5.
    align_corners: bilinear only: blend those of o * (H - 1) / (OH - 1), so that the corner pixels coincide. None is False.

Shape:
    (N, C, *size), or (N, C, floor(H * scale_factor), floor(W * scale_factor)).

Returns:
    The resized images. Nothing is smoothed before images are made smaller.

Raises:
    ValueError: unless exactly one of size and scale_factor is given, and for numbers out of range.

Example:
    >>> import cnnx
    >>> x = cnnx.tensor([0.0, 4.0]).reshape(1, 1, 1, 2)
    >>> cnnx.functional.upsample(x, scale_factor=(1, 2)).tolist()
    [[[[0.0, 0.0, 4.0, 4.0]]]]
    >>> cnnx.functional.upsample(x, size=(1, 4), mode="bilinear").tolist()
    [[[[0.0, 1.0, 3.0, 4.0]]]]
)";

constexpr const char* kPadDoc = R"(Adds borders to the last axes, as torch's pad.

Args:
    x: any tensor.
    padding: (left, right, top, bottom, ...): widths before and after, last axis first.
    mode: "constant", or "reflect", which mirrors what lies inside the border (the last two axes only).
    value: of the constant borders. It may also come third.

Shape:
    Each padded axis grows by its two widths.

Returns:
    The padded tensor.

Raises:
    ValueError: for negative widths, an odd number of them, and reflected borders as wide as the axis.

Example:
    >>> import cnnx
    >>> x = cnnx.tensor([1.0, 2.0, 3.0])
    >>> cnnx.pad(x, (1, 2)).tolist()
    [0.0, 1.0, 2.0, 3.0, 0.0, 0.0]
    >>> cnnx.pad(x, (1, 2), "reflect").tolist()
    [2.0, 1.0, 2.0, 3.0, 2.0, 1.0]
)";

constexpr const char* kUpsampleLayerDoc = R"(Resizes images to a size or by a factor.

Args:
    size: height and width of the output; one integer stands for both.
    scale_factor: output size over input size, as an alternative to size; one number stands for both axes.
    mode: "nearest" or "bilinear".
    align_corners: bilinear only: the corner pixels of input and output coincide.

Shape:
    (N, C, H, W) to (N, C, *size), or (N, C, floor(H * scale_factor), floor(W * scale_factor)).

Raises:
    ValueError: unless exactly one of size and scale_factor is given, and for an unknown mode.

Example:
    >>> import cnnx
    >>> cnnx.Upsample(scale_factor=2)(cnnx.zeros(1, 3, 7, 7)).shape
    (1, 3, 14, 14)
)";

constexpr const char* kZeroPadDoc = R"(Adds zeros around images.

Args:
    padding: width of all four borders, or (left, right, top, bottom), torch's order.

Shape:
    (N, C, H, W) to (N, C, H + top + bottom, W + left + right); without N likewise.

Raises:
    ValueError: for negative widths.

Example:
    >>> import cnnx
    >>> cnnx.ZeroPad2d((1, 2, 0, 0))(cnnx.ones(1, 1, 1, 1)).tolist()
    [[[[0.0, 1.0, 0.0, 0.0]]]]
)";

constexpr const char* kReflectionPadDoc =
    R"(Adds borders around images that mirror what lies inside them, the edge not repeated.

Args:
    padding: width of all four borders, or (left, right, top, bottom), torch's order; less than the image has.

Shape:
    (N, C, H, W) to (N, C, H + top + bottom, W + left + right); without N likewise.

Raises:
    ValueError: for negative widths, and for images not larger than the borders.

Example:
    >>> import cnnx
    >>> cnnx.ReflectionPad2d((2, 1, 0, 0))(cnnx.tensor([1.0, 2.0, 3.0]).reshape(1, 1, 1, 3)).tolist()
    [[[[3.0, 2.0, 1.0, 2.0, 3.0, 2.0]]]]
)";

using OptionalPair = std::optional<Pair>;
using OptionalScale = std::optional<Scale>;

void bind_functions(py::module_& m) {
  m.def(
      "upsample",
      [](const Tensor& x, const OptionalPair& size, const OptionalScale& scale_factor, const std::string& mode,
         std::optional<bool> align_corners) {
        return upsample(x, {size, scale_factor, mode, align_corners.value_or(false)});
      },
      py::arg("x"), py::arg("size") = py::none(), py::arg("scale_factor") = py::none(), py::arg("mode") = "nearest",
      py::arg("align_corners") = py::none(), NoGil(), kUpsampleDoc);
  m.def(
      "pad",
      [](const Tensor& x, const std::vector<int64_t>& padding, const std::string& mode, Scalar value) {
        if (mode != "constant" && mode != "reflect") {
          throw std::invalid_argument("[pad] mode must be \"constant\" or \"reflect\"; got \"" + mode + "\".");
        }
        return pad(x, padding, value, mode == "reflect" ? PadMode::kReflect : PadMode::kConstant);
      },
      py::arg("x"), py::arg("padding"), py::arg("mode") = "constant", py::arg("value") = 0.0, NoGil(), kPadDoc);
  m.def(
      "pad", [](const Tensor& x, const std::vector<int64_t>& padding, Scalar value) { return pad(x, padding, value); },
      py::arg("x"), py::arg("padding"), py::arg("value"), NoGil());
}

template <class L>
void bind_padding(py::module_& m, const char* name, const char* doc) {
  bind_layer<L>(m, name, doc)
      .def(py::init([](const Shape& padding) { return std::make_unique<PyModule<L>>(padding); }), py::arg("padding"));
}

}  // namespace

void bind_resampling(py::module_& m) {
  bind_functions(m);
  bind_layer<Upsample>(m, "Upsample", kUpsampleLayerDoc)
      .def(py::init([](const OptionalPair& size, const OptionalScale& scale_factor, const std::string& mode,
                       std::optional<bool> align_corners) {
             return std::make_unique<PyModule<Upsample>>(
                 UpsampleOptions{size, scale_factor, mode, align_corners.value_or(false)});
           }),
           py::arg("size") = py::none(), py::arg("scale_factor") = py::none(), py::arg("mode") = "nearest",
           py::arg("align_corners") = py::none());
  bind_padding<ZeroPad2d>(m, "ZeroPad2d", kZeroPadDoc);
  bind_padding<ReflectionPad2d>(m, "ReflectionPad2d", kReflectionPadDoc);
}

}  // namespace cnnx::bindings
