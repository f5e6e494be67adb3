// Tensor's reductions, with the argument names of NumPy and of torch.
#include "tensor_class.h"

namespace cnnx::bindings {
namespace {

std::vector<int> axes_of(const py::object& axis) {
  if (axis.is_none()) return {};
  std::vector<int64_t> values;
  int64_t one = 0;
  if (load_integer(axis, one)) {
    values = {one};
  } else if (!load_integers(axis, values)) {
    throw py::type_error("axis must be an int, a tuple of ints or None; got " + py::repr(axis).cast<std::string>());
  }
  std::vector<int> axes;
  for (const int64_t value : values) {
    if (value < -Shape::kMaxRank || value >= Shape::kMaxRank) {
      throw std::out_of_range("[axis] axis must lie within the tensor's rank; got " + std::to_string(value) + ".");
    }
    axes.push_back(static_cast<int>(value));
  }
  return axes;
}

/// NumPy and torch have two names for one argument.
void check_one_name(bool has_axis, bool has_dim) {
  if (has_axis && has_dim)
    throw std::invalid_argument("[axis] axis and dim are two names of one argument; got both. Pass one of them.");
}

using ReduceFn = Tensor (*)(const Tensor&, std::span<const int>, bool);

/// A reduction with NumPy's arguments; torch's names dim and keepdim are accepted as well.
void def_reduction(TensorClass& cls, const char* name, ReduceFn fn, const char* doc) {
  cls.def(
      name,
      [fn](const Tensor& x, const py::object& axis, bool keepdims, const py::object& dim, bool keepdim) {
        check_one_name(!axis.is_none(), !dim.is_none());
        const std::vector<int> axes = axes_of(axis.is_none() ? dim : axis);
        const GilRelease nogil;
        return fn(x, axes, keepdims || keepdim);
      },
      py::arg("axis") = py::none(), py::arg("keepdims") = false, py::kw_only(), py::arg("dim") = py::none(),
      py::arg("keepdim") = false, doc);
}

}  // namespace

void bind_reductions(TensorClass& cls) {
  def_reduction(cls, "sum", sum, "Sum over the given axes (default all). Integers and booleans sum to int64.");
  def_reduction(cls, "mean", mean, "Mean over the given axes (default all); float32 for integers and booleans.");
  def_reduction(cls, "max", max,
                "Largest value over the given axes (default all). The gradient goes to the first largest.");
  def_reduction(cls, "min", min,
                "Smallest value over the given axes (default all). The gradient goes to the first smallest.");
  cls.def(
      "argmax",
      [](const Tensor& x, std::optional<int> axis, bool keepdims, std::optional<int> dim, bool keepdim) {
        check_one_name(axis.has_value(), dim.has_value());
        return argmax(x, axis ? axis : dim, keepdims || keepdim);
      },
      py::arg("axis") = py::none(), py::arg("keepdims") = false, py::kw_only(), py::arg("dim") = py::none(),
      py::arg("keepdim") = false, NoGil(),
      "Position of the first largest value along an axis, or in the flattened tensor. int64.");
}

}  // namespace cnnx::bindings
