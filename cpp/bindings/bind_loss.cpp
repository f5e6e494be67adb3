// Losses as functions.
#include "casters.h"

namespace cnnx::bindings {
namespace {

constexpr const char* kCrossEntropyDoc =
    R"(Cross-entropy between scores (logits) and class numbers: the Softmax classifier's loss.

Args:
    input: logits (N, classes), (N, classes, d1, ...) or (classes,).
    target: int64 class numbers (N), (N, d1, ...) or ().
    weight: one weight a class, or None. The mean is over weights, as in torch.
    ignore_index: targets of this value do not count.
    reduction: "mean", "sum" or "none".
    label_smoothing: share of the target that is spread over all classes.

Shape:
    A scalar; target's shape with reduction="none".

Returns:
    -log(softmax(input)[target]), reduced.

Raises:
    ValueError: for shapes or dtypes that do not match.
    IndexError: for a target that is no class.

Source:
    CS231n, "Linear classification", section Softmax classifier.

Example:
    >>> import cnnx
    >>> logits = cnnx.tensor([[2.0, 1.0, 0.1]])
    >>> round(cnnx.functional.cross_entropy(logits, cnnx.tensor([0])).item(), 4)
    0.417
)";

constexpr const char* kMultiMarginDoc = R"(Multiclass hinge loss as torch defines it: divided by the number of classes.

Args:
    input: scores (N, classes) or (classes,).
    target: int64 class numbers (N) or ().
    p: 1, or 2 for the squared hinge.
    margin: by how much the right score should exceed the others.
    weight: one weight a class, or None.
    reduction: "mean", "sum" or "none".

Shape:
    A scalar; target's shape with reduction="none".

Returns:
    sum over c != target of max(0, margin - input[target] + input[c]) ** p / classes, reduced.

Raises:
    ValueError: for shapes or dtypes that do not match.
    IndexError: for a target that is no class.

Example:
    >>> import cnnx
    >>> cnnx.functional.multi_margin_loss(cnnx.zeros(1, 4), cnnx.tensor([2])).item()
    0.75
)";

constexpr const char* kSvmDoc =
    R"(The multiclass SVM loss of the CS231n notes: multi_margin_loss without the division by classes.

Args:
    input: scores (N, classes).
    target: int64 class numbers (N).
    margin: by how much the right score should exceed the others.
    reduction: "mean", "sum" or "none".

Shape:
    A scalar; target's shape with reduction="none".

Returns:
    sum over c != target of max(0, input[c] - input[target] + margin), reduced.

Raises:
    ValueError: for shapes or dtypes that do not match.
    IndexError: for a target that is no class.

Source:
    CS231n, "Linear classification", section Multiclass Support Vector Machine loss, whose example this is.

Example:
    >>> import cnnx
    >>> cnnx.functional.svm_loss(cnnx.tensor([[13.0, -7.0, 11.0]]), cnnx.tensor([0]), margin=10.0).item()
    8.0
)";

}  // namespace

void bind_loss(py::module_& m) {
  m.def(
      "cross_entropy",
      [](const Tensor& input, const Tensor& target, const std::optional<Tensor>& weight, int64_t ignore_index,
         Reduction reduction, double label_smoothing) {
        return cross_entropy(input, target, {or_undefined(weight), ignore_index, reduction, label_smoothing});
      },
      py::arg("input"), py::arg("target"), py::arg("weight") = py::none(), py::arg("ignore_index") = -100,
      py::arg("reduction") = Reduction::kMean, py::arg("label_smoothing") = 0.0, NoGil(), kCrossEntropyDoc);
  m.def(
      "multi_margin_loss",
      [](const Tensor& input, const Tensor& target, int64_t p, double margin, const std::optional<Tensor>& weight,
         Reduction reduction) {
        return multi_margin_loss(input, target, {p, margin, or_undefined(weight), reduction});
      },
      py::arg("input"), py::arg("target"), py::arg("p") = 1, py::arg("margin") = 1.0, py::arg("weight") = py::none(),
      py::arg("reduction") = Reduction::kMean, NoGil(), kMultiMarginDoc);
  m.def("svm_loss", &svm_loss, py::arg("input"), py::arg("target"), py::arg("margin") = 1.0,
        py::arg("reduction") = Reduction::kMean, NoGil(), kSvmDoc);
  m.def("mse_loss", &mse_loss, py::arg("input"), py::arg("target"), py::arg("reduction") = Reduction::kMean, NoGil(),
        R"(Mean squared error: (input - target) ** 2, reduced.

Args:
    input: any shape.
    target: the same shape and dtype.
    reduction: "mean", "sum" or "none".

Raises:
    ValueError: for shapes or dtypes that differ; nothing is broadcast.

Example:
    >>> import cnnx
    >>> cnnx.functional.mse_loss(cnnx.tensor([1.0, 2.0]), cnnx.tensor([1.0, 4.0])).item()
    2.0
)");
}

}  // namespace cnnx::bindings
