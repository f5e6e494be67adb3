// Tensor's operators and element-wise methods.
#include "tensor_class.h"

namespace cnnx::bindings {

Tensor operand(const Tensor& x, py::handle other) {
  if (py::isinstance<Tensor>(other)) return other.cast<Tensor>();
  const DType own = is_16_bit(x.dtype()) ? DType::kFloat32 : x.dtype();
  if (PyBool_Check(other.ptr())) return full({}, other.cast<bool>(), {own, x.device()});
  if (PyLong_Check(other.ptr())) {
    if (is_floating(own)) {
      const double value = PyLong_AsDouble(other.ptr());
      if (value == -1 && PyErr_Occurred()) throw py::error_already_set();  // OverflowError, as for float + int
      return full({}, value, {own, x.device()});
    }
    int64_t value = 0;
    load_integer(other, value);
    return full({}, value, {DType::kInt64, x.device()});
  }
  if (PyFloat_Check(other.ptr())) {
    return full({}, other.cast<double>(), {is_floating(own) ? own : DType::kFloat32, x.device()});
  }
  if (const Tensor y = tensor_from_bfloat16(other); y.defined()) return without_gil([&] { return y.to(x.device()); });
  if (py::hasattr(other, "__array__")) {
    const Tensor y = tensor_from_array(as_array(other), std::nullopt);
    return without_gil([&] { return y.to(x.device()); });
  }
  return {};
}

namespace {

bool is_number(py::handle value) { return PyLong_Check(value.ptr()) || PyFloat_Check(value.ptr()); }

/// fn(x, y), or fn(y, x) when reflected.
Tensor apply(BinaryFunction fn, const Tensor& x, const Tensor& y, bool is_number, bool reflected) {
  if (is_number) return with_number(fn, x, y, reflected);
  return reflected ? fn(y, x) : fn(x, y);
}

/// fn(x, other), or fn(other, x) when reflected; NotImplemented for operands of other kinds.
py::object apply_binary(BinaryFunction fn, const Tensor& x, py::handle other, bool reflected) {
  const Tensor y = operand(x, other);
  if (!y.defined()) return py::reinterpret_borrow<py::object>(Py_NotImplemented);
  const bool number = is_number(other);
  return py::cast(without_gil([&] { return apply(fn, x, y, number, reflected); }));
}

using InPlaceFn = Tensor& (Tensor::*)(const Tensor&);

/// x op= other: where x lies if no gradient is involved, else a new tensor (a leaf that requires one is refused).
py::object apply_in_place(BinaryFunction fn, InPlaceFn change, py::object self, py::handle other) {
  auto& x = self.cast<Tensor&>();
  const Tensor y = operand(x, other);
  if (!y.defined()) return py::reinterpret_borrow<py::object>(Py_NotImplemented);
  if (is_grad_enabled() && x.requires_grad() && x.is_leaf()) {
    throw std::runtime_error(
        "[in-place] a leaf that requires a gradient cannot be changed in place. Do it under no_grad().");
  }
  const bool is_recorded = is_grad_enabled() && (x.requires_grad() || y.requires_grad()), number = is_number(other);
  const GilRelease nogil;
  if (is_recorded && is_floating(x.dtype())) {
    Tensor result = apply(fn, x, y, number, false);
    const GilAcquire gil;
    return py::cast(std::move(result));
  }
  (x.*change)(y);
  return self;
}

/// x.add_(other) and the like.
void def_in_place(TensorClass& cls, const char* name, InPlaceFn change, const char* doc) {
  cls.def(
      name,
      [change, name](py::object self, py::handle other) {
        auto& x = self.cast<Tensor&>();
        const Tensor y = operand(x, other);
        if (!y.defined()) {
          throw py::type_error("[" + std::string(name) + "] expected a tensor, an array or a number; got " +
                               py::repr(other).cast<std::string>() + ".");
        }
        const GilRelease nogil;
        (x.*change)(y);
        return self;
      },
      py::arg("other"), doc);
}

template <Comparison kComparison>
Tensor compare_with(const Tensor& a, const Tensor& b) {
  return compare(kComparison, a, b);
}

void bind_operators(TensorClass& cls) {
  const auto binary = [&](const char* name, const char* reflected, BinaryFunction fn) {
    cls.def(name, [fn](const Tensor& x, py::handle other) { return apply_binary(fn, x, other, false); });
    cls.def(reflected, [fn](const Tensor& x, py::handle other) { return apply_binary(fn, x, other, true); });
  };
  binary("__add__", "__radd__", add);
  binary("__sub__", "__rsub__", sub);
  binary("__mul__", "__rmul__", mul);
  binary("__truediv__", "__rtruediv__", div);
  binary("__pow__", "__rpow__", pow);
  binary("__matmul__", "__rmatmul__", matmul);
  const auto in_place = [&](const char* name, BinaryFunction fn, InPlaceFn change) {
    cls.def(name,
            [=](py::object self, py::handle other) { return apply_in_place(fn, change, std::move(self), other); });
  };
  in_place("__iadd__", add, &Tensor::add_);
  in_place("__isub__", sub, &Tensor::sub_);
  in_place("__imul__", mul, &Tensor::mul_);
  in_place("__itruediv__", div, &Tensor::div_);
  constexpr const char* kInPlace = R"(Changes the tensor in place, as torch's method of this name.

Args:
    other: a tensor, array or number that is broadcast to this tensor's shape.

Raises:
    RuntimeError: if the tape would record the change; it cannot be undone there.
    ValueError: if this dtype cannot hold the result, or the result would have another shape.
)";
  def_in_place(cls, "add_", &Tensor::add_, kInPlace);
  def_in_place(cls, "sub_", &Tensor::sub_, kInPlace);
  def_in_place(cls, "mul_", &Tensor::mul_, kInPlace);
  def_in_place(cls, "div_", &Tensor::div_, kInPlace);
  const auto comparison = [&](const char* name, BinaryFunction fn) {
    cls.def(name, [fn](const Tensor& x, py::handle other) { return apply_binary(fn, x, other, false); });
  };
  comparison("__eq__", compare_with<Comparison::kEq>);
  comparison("__ne__", compare_with<Comparison::kNe>);
  comparison("__lt__", compare_with<Comparison::kLt>);
  comparison("__le__", compare_with<Comparison::kLe>);
  comparison("__gt__", compare_with<Comparison::kGt>);
  comparison("__ge__", compare_with<Comparison::kGe>);
  cls.def("__hash__", [](const Tensor& x) { return py::hash(py::int_(reinterpret_cast<uintptr_t>(x.impl().get()))); });
  cls.def("__neg__", [](const Tensor& x) { return neg(x); }, NoGil());
  cls.def("__abs__", [](const Tensor& x) { return cnnx::abs(x); }, NoGil());
}

void bind_functions(TensorClass& cls) {
  cls.def(
         "exp", [](const Tensor& x) { return cnnx::exp(x); }, NoGil(), "Element-wise e^x.")
      .def(
          "log", [](const Tensor& x) { return cnnx::log(x); }, NoGil(), "Element-wise natural logarithm.")
      .def(
          "sqrt", [](const Tensor& x) { return cnnx::sqrt(x); }, NoGil(), "Element-wise square root.")
      .def(
          "abs", [](const Tensor& x) { return cnnx::abs(x); }, NoGil(), "Element-wise absolute value.")
      .def(
          "clip",
          [](const Tensor& x, std::optional<Scalar> low, std::optional<Scalar> high) { return clip(x, low, high); },
          py::arg("min") = py::none(), py::arg("max") = py::none(), NoGil(), "Element-wise limit to [min, max].");
}

}  // namespace

void bind_arithmetic(TensorClass& cls) {
  bind_operators(cls);
  bind_functions(cls);
}

}  // namespace cnnx::bindings
