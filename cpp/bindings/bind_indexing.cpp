// Tensor's shapes and indexing.
#include "tensor_class.h"

namespace cnnx::bindings {
namespace {

/// An int, slice, ... or None; false for others, such as tensors of numbers.
bool load_entry(py::handle key, Index& entry) {
  if (PySlice_Check(key.ptr())) {
    Py_ssize_t start = 0, stop = 0, step = 0;
    if (PySlice_Unpack(key.ptr(), &start, &stop, &step) < 0) throw py::error_already_set();
    return entry = Slice{start, stop, step}, true;
  }
  if (key.is(py::ellipsis())) return entry = Ellipsis{}, true;
  if (key.is_none()) return entry = NewAxis{}, true;
  int64_t number = 0;
  const bool is_rows = !PyLong_Check(key.ptr()) && py::isinstance<Tensor>(key) && key.cast<const Tensor&>().rank() > 0;
  if (is_rows || !load_integer(key, number)) return false;
  return entry = number, true;
}

bool load_index(py::handle key, std::vector<Index>& index) {
  const py::tuple entries = PyTuple_Check(key.ptr()) ? py::reinterpret_borrow<py::tuple>(key) : py::make_tuple(key);
  for (const py::handle entry : entries) {
    if (!load_entry(entry, index.emplace_back())) return false;
  }
  return true;
}

/// An int64 tensor of numbers or a mask; undefined for others.
Tensor load_rows(py::handle key) {
  Tensor rows;
  int64_t number = 0;
  if (py::isinstance<Tensor>(key)) {
    rows = key.cast<Tensor>();
  } else if (load_integer(key, number)) {
    rows = full({}, number, {DType::kInt64});
  } else if (py::isinstance<py::list>(key) || py::hasattr(key, "__array__")) {
    const bool empty_list = py::isinstance<py::list>(key) && py::len(key) == 0;  // of no dtype; NumPy's is float64
    rows = tensor_from_array(as_array(key), empty_list ? std::optional(DType::kInt64) : std::nullopt);
  }
  return rows.defined() && is_floating(rows.dtype()) ? Tensor() : rows;
}

/// The values where a mask of x's first axes is true, one after the other.
Tensor masked(const Tensor& x, const Tensor& mask) {
  Shape merged{mask.numel()};
  for (int axis = 0; axis < x.rank(); ++axis) {
    if (axis >= mask.rank()) {
      merged.push_back(x.shape()[axis]);
    } else if (x.shape()[axis] != mask.shape()[axis]) {
      merged = {};
      break;
    }
  }
  if (mask.rank() == 0 || mask.rank() > x.rank() || merged.rank() == 0) {
    throw std::out_of_range("[index] a mask must have the lengths of the first axes; got a mask of shape " +
                            mask.shape().str() + " for shape " + x.shape().str() + ".");
  }
  const Tensor rows = rows_of_mask(mask);
  return without_gil([&] { return x.reshape(merged).index_rows(rows); });
}

Tensor get_item(const Tensor& x, const py::object& key) {
  int64_t number = 0;
  if (PyLong_Check(key.ptr()) && load_integer(key, number)) return without_gil([&] { return x.select(number); });
  if (std::vector<Index> index; load_index(key, index)) return without_gil([&] { return x.index(index); });
  const py::tuple entries = PyTuple_Check(key.ptr()) ? py::reinterpret_borrow<py::tuple>(key) : py::make_tuple(key);
  std::vector<Tensor> rows;
  for (const py::handle entry : entries) {
    rows.push_back(load_rows(entry));
    if (entries.size() == 1 && rows[0].defined() && rows[0].dtype() == DType::kBool) return masked(x, rows[0]);
    if (!rows.back().defined() || rows.back().dtype() != DType::kInt64) {
      throw std::out_of_range(
          "[index] expected ints, slices, ... and None, or int64 rows for the first axes, or a mask; got " +
          py::repr(key).cast<std::string>() + ". Use .numpy() for other indexing.");
    }
  }
  return without_gil([&] { return x.index_rows(std::span<const Tensor>(rows)); });
}

/// The key with arrays in the place of tensors, of which NumPy would take those of one number for an integer and those
/// of none for row numbers.
py::object with_arrays(const py::object& key) {
  const auto array_or_same = [](const py::object& entry) {
    return py::hasattr(entry, "__array__") ? py::object(as_array(entry)) : entry;
  };
  if (!PyTuple_Check(key.ptr())) return array_or_same(key);
  py::list entries;
  for (const py::handle entry : key) entries.append(array_or_same(py::reinterpret_borrow<py::object>(entry)));
  return py::tuple(entries);
}

/// Whatever NumPy can index, not recorded.
void set_anywhere(Tensor& x, const py::object& key, const Tensor& value) {
  if (is_grad_enabled() && (x.requires_grad() || value.requires_grad())) {
    throw std::runtime_error("[setitem] with gradients, only ints, slices, ... and None name what is written; got " +
                             py::repr(key).cast<std::string>() + ". Do it under no_grad(), or multiply by a mask.");
  }
  const Tensor host = for_numpy(on_host(x));
  array_from_tensor(host)[with_arrays(key)] = array_from_tensor(for_numpy(value));
  if (x.device() == Device() && x.dtype() == host.dtype()) {
    note_write(x);
  } else {
    without_gil([&] { x.copy_(host); });
  }
}

void set_item(Tensor& x, const py::object& key, py::handle given) {
  const Tensor value = operand(x, given);
  if (!value.defined()) {
    throw py::type_error("[setitem] expected a tensor, an array or a number; got " +
                         py::repr(given).cast<std::string>() + ".");
  }
  if (std::vector<Index> index; load_index(key, index)) return without_gil([&] { x.index_put_(index, value); });
  set_anywhere(x, key, value);
}

}  // namespace

void bind_indexing(TensorClass& cls) {
  cls.def(
         "reshape", [](const Tensor& x, const py::args& shape) { return x.reshape(shape_argument(shape)); },
         "The same values in another shape; one length may be -1. Shares memory.")
      .def("flatten", &Tensor::flatten, py::arg("start_dim") = 0, py::arg("end_dim") = -1,
           "Merges a run of axes into one. Shares memory.")
      .def("squeeze", &Tensor::squeeze, py::arg("dim"), "Drops an axis of length 1. Shares memory.")
      .def("unsqueeze", &Tensor::unsqueeze, py::arg("dim"), "Adds an axis of length 1. Shares memory.")
      .def("transpose", &Tensor::transpose, py::arg("dim0"), py::arg("dim1"), NoGil(),
           "A copy with two axes exchanged.")
      .def_property_readonly(
          "T",
          [](const Tensor& x) {
            if (x.rank() != 2)
              throw std::invalid_argument("[T] expected a matrix; got shape " + x.shape().str() +
                                          ". Use transpose(a, b).");
            return without_gil([&] { return x.transpose(0, 1); });
          },
          "The transposed matrix, a copy.")
      .def("__getitem__", get_item)
      .def("__setitem__", set_item)
      .def("__len__",
           [](const Tensor& x) {
             if (x.rank() == 0) throw py::type_error("a tensor without axes has no length");
             return x.size(0);
           })
      .def("__iter__", [](const Tensor& x) {
        if (x.rank() == 0) throw py::type_error("a tensor without axes cannot be iterated");
        py::list rows;
        for (int64_t i = 0; i < x.size(0); ++i) rows.append(x.select(i));
        return py::iter(rows);
      });
}

}  // namespace cnnx::bindings
