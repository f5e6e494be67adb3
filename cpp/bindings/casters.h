// Conversions between Python arguments and the option types of the C++ interface.
//
// Pair: int or (h, w). Scale: float or (h, w). Padding: int, (h, w), (top, bottom, left, right), "same" or "valid". Fit
// and Reduction: their names. DType: cnnx.float32, "float32", np.float32 or np.dtype. Device: cnnx.Device or its name.
// Shape: int or a sequence of ints. Scalar: a number.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <variant>

#include "cnnx/cnnx.h"
#include "cnnx/optim.h"
#include "gil.h"

namespace py = pybind11;

namespace cnnx::bindings {

/// An int, or an object with __index__ such as NumPy's integers; never a bool or a float.
inline bool load_integer(py::handle source, int64_t& value) {
  if (!source || PyBool_Check(source.ptr()) || !PyIndex_Check(source.ptr())) return false;
  const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(source.ptr()));
  if (!index) {
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) throw py::error_already_set();
    PyErr_Clear();
    return false;
  }
  value = PyLong_AsLongLong(index.ptr());
  if (value == -1 && PyErr_Occurred()) {
    PyErr_Clear();
    throw py::value_error("[argument] integers must fit 64 bits; got " + std::string(py::str(index)) + ".");
  }
  return true;
}

/// A number; false for anything else. Integers and booleans are exact.
inline bool load_scalar(py::handle source, Scalar& value) {
  if (!source) return false;
  py::detail::make_caster<bool> flag;  // NumPy's as well
  if (flag.load(source, false)) return value = static_cast<bool>(flag), true;
  int64_t integer = 0;
  if (load_integer(source, integer)) return value = integer, true;
  py::detail::make_caster<double> real;
  if (!real.load(source, true)) return false;
  value = static_cast<double>(real);
  return true;
}

/// A sequence of integers (not a string); false for anything else.
inline bool load_integers(py::handle source, std::vector<int64_t>& values) {
  if (!source || !(PyTuple_Check(source.ptr()) || PyList_Check(source.ptr()))) return false;
  values.clear();
  for (const py::handle item : py::reinterpret_borrow<py::sequence>(source)) {
    int64_t value = 0;
    if (!load_integer(item, value)) return false;
    values.push_back(value);
  }
  return true;
}

/// A tensor as it is; other numbers, such as another library's tensors, as a tensor.
inline Tensor to_tensor(py::object value) {
  if (!py::isinstance<Tensor>(value)) {
    if (py::hasattr(value, "detach")) value = value.attr("detach")();
    value = py::module_::import("cnnx._core").attr("tensor")(value);
  }
  return value.cast<Tensor>();
}

}  // namespace cnnx::bindings

namespace pybind11::detail {

/// Base of the casters of classes that Python can make without running __init__, by `Class.__new__(Class)`: such an
/// object is refused, where pybind11 would hand out memory that no constructor has touched.
template <class Caster>
struct initialised_only : Caster {
  using Caster::Caster;
  bool load(handle source, bool convert) {
    const bool ours = source && this->typeinfo && PyObject_TypeCheck(source.ptr(), this->typeinfo->type);
    if (ours && !reinterpret_cast<instance*>(source.ptr())->get_value_and_holder().value_ptr())
      throw type_error("[init] __init__ of this " + std::string(Py_TYPE(source.ptr())->tp_name) + " has not run.");
    return Caster::load(source, convert);
  }
};

template <class T>
concept LayerOrOptimizer = std::derived_from<T, cnnx::Module> || std::derived_from<T, cnnx::optim::Optimizer>;

template <class T>
concept PlainRecord = std::same_as<T, cnnx::Device> || std::same_as<T, cnnx::Module::LoadResult> ||
                      std::same_as<T, cnnx::optim::ParamGroup>;

template <class T>
  requires LayerOrOptimizer<T> || PlainRecord<T>
struct type_caster<T> : initialised_only<type_caster_base<T>> {};

template <LayerOrOptimizer T>
struct type_caster<std::shared_ptr<T>> : initialised_only<copyable_holder_caster<T, std::shared_ptr<T>>> {};

/// A tensor is always the same Python object, as long as that lives: `layer.weight is layer.weight`.
template <>
struct type_caster<cnnx::Tensor> : initialised_only<type_caster_base<cnnx::Tensor>> {
  /// Arrays and numbers are not converted silently, but the error says how.
  bool load(handle source, bool convert) {
    if (initialised_only::load(source, convert)) return true;
    if (!convert || !source || source.is_none()) return false;
    const object kind = type::handle_of(source).attr("__qualname__"), home = type::handle_of(source).attr("__module__");
    const std::string prefix = home.equal(str("builtins")) ? "" : std::string(str(home)) + ".";
    throw type_error("[argument] expected a Tensor; got " + prefix + std::string(str(kind)) +
                     ". Convert arrays and numbers with cnnx.tensor().");
  }
  static handle cast(const cnnx::Tensor& tensor, return_value_policy, handle parent) {
    auto*& known = reinterpret_cast<PyObject*&>(tensor.binding());
    if (known) return handle(known).inc_ref();
    const handle made = type_caster_base<cnnx::Tensor>::cast(tensor, return_value_policy::copy, parent);
    known = made.ptr();
    return made;
  }
};

template <>
struct type_caster<cnnx::Scalar> {
  PYBIND11_TYPE_CASTER(cnnx::Scalar, const_name("typing.SupportsFloat | typing.SupportsIndex"));
  bool load(handle source, bool) { return cnnx::bindings::load_scalar(source, value); }
  static handle cast(const cnnx::Scalar& number, return_value_policy, handle) {
    return number.is_integer() ? pybind11::int_(number.as<int64_t>()).release()
                               : pybind11::float_(number.as<double>()).release();
  }
};

template <>
struct type_caster<cnnx::Pair> {
  PYBIND11_TYPE_CASTER(cnnx::Pair, const_name("int | tuple[int, int]"));
  bool load(handle source, bool) {
    int64_t both = 0;
    if (cnnx::bindings::load_integer(source, both)) {
      value = cnnx::Pair(both);
      return true;
    }
    std::vector<int64_t> values;
    if (!cnnx::bindings::load_integers(source, values) || values.size() != 2) return false;
    value = cnnx::Pair(values[0], values[1]);
    return true;
  }
  static handle cast(const cnnx::Pair& pair, return_value_policy, handle) {
    return make_tuple(pair.h, pair.w).release();
  }
};

template <>
struct type_caster<cnnx::Scale> {
  PYBIND11_TYPE_CASTER(cnnx::Scale, const_name("float | tuple[float, float]"));
  bool load(handle source, bool convert) {
    if (!source || PyBool_Check(source.ptr())) return false;
    make_caster<double> both;
    if (both.load(source, convert)) {
      value = cnnx::Scale(static_cast<double>(both));
      return true;
    }
    make_caster<std::pair<double, double>> pair;
    if (!(PyTuple_Check(source.ptr()) || PyList_Check(source.ptr())) || !pair.load(source, convert)) return false;
    const auto [h, w] = static_cast<std::pair<double, double>>(pair);
    value = cnnx::Scale(h, w);
    return true;
  }
  static handle cast(const cnnx::Scale& scale, return_value_policy, handle) {
    if (scale.h == scale.w) return pybind11::float_(scale.h).release();
    return make_tuple(scale.h, scale.w).release();
  }
};

template <>
struct type_caster<cnnx::Padding> {
  PYBIND11_TYPE_CASTER(cnnx::Padding, const_name("int | tuple[int, int] | tuple[int, int, int, int] | str"));
  bool load(handle source, bool) {
    if (source && PyUnicode_Check(source.ptr())) {
      const auto text = source.cast<std::string>();
      if (text != "same" && text != "valid") {
        throw value_error(
            "[padding] expected an int, (h, w), (top, bottom, left, right), \"same\" or \"valid\"; got \"" + text +
            "\".");
      }
      value = text == "same" ? cnnx::Padding::same() : cnnx::Padding::valid();
      return true;
    }
    int64_t all = 0;
    if (cnnx::bindings::load_integer(source, all)) {
      value = cnnx::Padding(all);
      return true;
    }
    std::vector<int64_t> v;
    if (!cnnx::bindings::load_integers(source, v) || (v.size() != 2 && v.size() != 4)) return false;
    value = v.size() == 2 ? cnnx::Padding(v[0], v[1]) : cnnx::Padding(v[0], v[1], v[2], v[3]);
    return true;
  }
  static handle cast(const cnnx::Padding& p, return_value_policy, handle) {
    if (p.is_same) return str("same").release();
    if (p.top == p.bottom && p.left == p.right) return make_tuple(p.top, p.left).release();
    return make_tuple(p.top, p.bottom, p.left, p.right).release();
  }
};

template <>
struct type_caster<cnnx::Fit> {
  PYBIND11_TYPE_CASTER(cnnx::Fit, const_name("str | None"));
  bool load(handle source, bool) {
    if (source.is_none()) {
      value = cnnx::Fit::kDefault;
      return true;
    }
    if (!source || !PyUnicode_Check(source.ptr())) return false;
    const auto text = source.cast<std::string>();
    if (text == "floor") {
      value = cnnx::Fit::kFloor;
    } else if (text == "ceil") {
      value = cnnx::Fit::kCeil;
    } else if (text == "strict") {
      value = cnnx::Fit::kStrict;
    } else {
      throw value_error("[fit] expected \"floor\", \"ceil\" or \"strict\"; got \"" + text + "\".");
    }
    return true;
  }
  static handle cast(cnnx::Fit fit, return_value_policy, handle) {
    switch (fit) {
      case cnnx::Fit::kFloor: return str("floor").release();
      case cnnx::Fit::kCeil: return str("ceil").release();
      case cnnx::Fit::kStrict: return str("strict").release();
      default: return none().release();
    }
  }
};

template <>
struct type_caster<cnnx::Reduction> {
  PYBIND11_TYPE_CASTER(cnnx::Reduction, const_name("str"));
  bool load(handle source, bool) {
    if (!source || !PyUnicode_Check(source.ptr())) return false;
    const auto text = source.cast<std::string>();
    if (text != "mean" && text != "sum" && text != "none") {
      throw value_error("[reduction] expected \"mean\", \"sum\" or \"none\"; got \"" + text + "\".");
    }
    value = text == "mean" ? cnnx::Reduction::kMean : text == "sum" ? cnnx::Reduction::kSum : cnnx::Reduction::kNone;
    return true;
  }
  static handle cast(cnnx::Reduction reduction, return_value_policy, handle) {
    return str(reduction == cnnx::Reduction::kMean  ? "mean"
               : reduction == cnnx::Reduction::kSum ? "sum"
                                                    : "none")
        .release();
  }
};

template <>
struct type_caster<cnnx::Shape> {
  PYBIND11_TYPE_CASTER(cnnx::Shape, const_name("int | Sequence[int]"));
  bool load(handle source, bool) {
    int64_t length = 0;
    if (cnnx::bindings::load_integer(source, length)) {
      value = cnnx::Shape{length};
      return true;
    }
    std::vector<int64_t> values;
    if (!cnnx::bindings::load_integers(source, values)) return false;
    value = cnnx::Shape(std::span<const int64_t>(values));
    return true;
  }
  static handle cast(const cnnx::Shape& shape, return_value_policy, handle) {
    tuple result(static_cast<size_t>(shape.rank()));
    for (int axis = 0; axis < shape.rank(); ++axis) result[static_cast<size_t>(axis)] = shape[axis];
    return result.release();
  }
};

}  // namespace pybind11::detail

namespace cnnx::bindings {

// DType and Device are bound classes (bind_tensor.cpp); arguments also accept their names. These wrap such arguments.

/// An argument that names a dtype.
struct DTypeArg {
  DType value = DType::kFloat32;
};
/// An argument that names a device.
struct DeviceArg {
  Device value;
};

inline bool load_dtype(py::handle source, DType& value) {
  if (py::isinstance<DType>(source)) {
    value = source.cast<DType>();
    return true;
  }
  if (PyUnicode_Check(source.ptr())) {
    value = parse_dtype(source.cast<std::string>());
    return true;
  }
  if (source.is_none() || !(PyType_Check(source.ptr()) || py::hasattr(source, "kind"))) return false;
  // np.float32 the type, np.dtype("float32"), and Python's own float, int and bool
  if (source.ptr() == reinterpret_cast<PyObject*>(&PyFloat_Type)) return value = DType::kFloat32, true;
  if (source.ptr() == reinterpret_cast<PyObject*>(&PyLong_Type)) return value = DType::kInt64, true;
  if (source.ptr() == reinterpret_cast<PyObject*>(&PyBool_Type)) return value = DType::kBool, true;
  const char* attribute = PyType_Check(source.ptr()) ? "__name__" : "name";
  if (!py::hasattr(source, attribute)) return false;
  auto name = py::str(source.attr(attribute)).cast<std::string>();
  if (name == "bool_") name = "bool";
  value = parse_dtype(name);
  return true;
}

/// What .to() takes: a dtype or a device, or the name of one.
inline std::variant<DType, Device> load_target(py::handle target) {
  if (py::isinstance<Device>(target)) return target.cast<Device>();
  if (py::isinstance<py::str>(target)) {
    const auto name = target.cast<std::string>();
    if (name.starts_with("cpu") || name.starts_with("cuda") || name == "meta") return Device(name);
  }
  DType dtype{};
  if (!load_dtype(target, dtype))
    throw py::type_error("[to] expected a dtype or a device; got " + py::repr(target).cast<std::string>() + ".");
  return dtype;
}

}  // namespace cnnx::bindings

namespace pybind11::detail {

template <>
struct type_caster<cnnx::bindings::DTypeArg> {
  PYBIND11_TYPE_CASTER(cnnx::bindings::DTypeArg, const_name("DType | str"));
  bool load(handle source, bool) {
    if (!source || source.is_none()) return false;
    if (cnnx::bindings::load_dtype(source, value.value)) return true;
    throw type_error("[dtype] expected a dtype or its name; got " + repr(source).cast<std::string>() + ".");
  }
  static handle cast(const cnnx::bindings::DTypeArg& dtype, return_value_policy, handle) {
    return pybind11::cast(dtype.value).release();
  }
};

template <>
struct type_caster<cnnx::bindings::DeviceArg> {
  PYBIND11_TYPE_CASTER(cnnx::bindings::DeviceArg, const_name("Device | str"));
  bool load(handle source, bool) {
    if (!source) return false;
    if (PyUnicode_Check(source.ptr())) {
      value.value = cnnx::Device(source.cast<std::string>());
      return true;
    }
    if (source.is_none()) return false;
    if (!isinstance<cnnx::Device>(source))
      throw type_error("[device] expected a device or its name; got " + repr(source).cast<std::string>() + ".");
    value.value = source.cast<cnnx::Device>();
    return true;
  }
  static handle cast(const cnnx::bindings::DeviceArg& device, return_value_policy, handle) {
    return pybind11::cast(device.value).release();
  }
};

}  // namespace pybind11::detail

namespace cnnx::bindings {

/// Releases the GIL for the whole call.
using NoGil = py::call_guard<GilRelease>;
/// Calls fn without it.
template <class F>
auto without_gil(F fn) {
  const GilRelease nogil;
  return fn();
}

/// Guards of C++ scopes as Python's context managers: the guards that this thread is under.
template <class Guard>
std::vector<std::unique_ptr<Guard>>& guards() {
  thread_local std::vector<std::unique_ptr<Guard>> entered;
  return entered;
}
template <class Guard, class... Args>
void enter_guard(const Args&... args) {
  guards<Guard>().push_back(std::make_unique<Guard>(args...));
}
template <class Guard>
void exit_guard() {
  if (!guards<Guard>().empty()) guards<Guard>().pop_back();
}

inline Tensor or_undefined(const std::optional<Tensor>& tensor) { return tensor.value_or(Tensor()); }
/// None for an undefined tensor.
inline py::object or_none(const Tensor& tensor) { return tensor.defined() ? py::cast(tensor) : py::none(); }

/// A property's setter whose errors name the property.
template <class Class, class F>
py::cpp_function setter(const char* name, F fn) {
  return py::cpp_function(fn, py::name(name), py::is_method(py::type::of<Class>()));
}

void bind_tensor(py::module_& m);
void bind_ops(py::module_& m);
void bind_loss(py::module_& m);
void bind_convolutions(py::module_& m);
void bind_normalizations(py::module_& m);
void bind_resampling(py::module_& m);
void bind_nn(py::module_& m);
void bind_init(py::module_& m);
void bind_layers(py::module_& m);
void bind_optim(py::module_& m);
void bind_io(py::module_& m);
void bind_analysis(py::module_& m);
void bind_autotune(py::module_& m);
void bind_cuda(py::module_& m);

}  // namespace cnnx::bindings
