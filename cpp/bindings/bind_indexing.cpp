// Tensor's shapes and indexing.
#include "tensor_class.h"

namespace cnnx::bindings {
namespace {

Tensor get_item(const Tensor& x, const py::object& key) {
  int64_t index = 0;
  if (load_integer(key, index)) return without_gil([&] { return x.select(index); });
  if (py::isinstance<py::slice>(key)) {
    Py_ssize_t start = 0, stop = 0, step = 0;
    if (PySlice_Unpack(key.ptr(), &start, &stop, &step) < 0) throw py::error_already_set();
    if (x.rank() == 0) throw std::out_of_range("[index] a tensor without axes cannot be sliced. Use item().");
    const Py_ssize_t count = PySlice_AdjustIndices(x.size(0), &start, &stop, step);
    const py::gil_scoped_release nogil;
    if (step < 0) return x.index_rows(arange(start, start + count * step, step, {DType::kInt64}));
    return x.slice(start, stop, step);
  }
  Tensor rows;
  if (py::isinstance<Tensor>(key)) {
    rows = key.cast<Tensor>();
  } else if (py::isinstance<py::array>(key) || py::isinstance<py::list>(key)) {
    const bool empty_list = py::isinstance<py::list>(key) && py::len(key) == 0;  // of no dtype; NumPy's is float64
    rows = tensor_from_array(as_array(key), empty_list ? std::optional(DType::kInt64) : std::nullopt);
  }
  if (rows.defined() && rows.dtype() == DType::kBool && rows.rank() == 1) {
    if (x.rank() == 0 || rows.size(0) != x.size(0))
      throw std::out_of_range("[index] a mask must have the length of the first axis.");
    rows = rows_of_mask(rows);
  }
  if (!rows.defined() || rows.dtype() != DType::kInt64) {
    throw std::out_of_range(
        "[index] tensors are indexed on the first axis, by an int, a slice, int64 rows or a mask; got " +
        py::repr(key).cast<std::string>() + ". Use .numpy() for other indexing.");
  }
  return without_gil([&] { return x.index_rows(rows); });
}

void set_item(Tensor& x, const py::object& key, py::handle value) {
  if (is_grad_enabled() && x.requires_grad()) {
    throw std::runtime_error(
        "[setitem] a tensor that requires a gradient cannot be written in place. Do it under no_grad().");
  }
  const Tensor source = operand(x, value);
  if (!source.defined()) throw py::type_error("expected numbers; got " + py::repr(value).cast<std::string>());
  if (is_grad_enabled() && source.requires_grad()) {
    throw std::runtime_error(
        "[setitem] writing in place is not recorded, so no gradient would reach the value. Build the result "
        "with concat or by arithmetic, or assign value.detach().");
  }
  const py::array values = array_from_tensor(source);
  if (x.device() == Device()) {
    array_from_tensor(x)[key] = values;
    note_write(x);
  } else {
    Tensor changed = x.detach().clone();
    array_from_tensor(changed)[key] = values;
    x.copy_(changed);
  }
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
