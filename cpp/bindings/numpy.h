// Tensors to and from NumPy arrays and DLPack capsules.
#pragma once

#include <pybind11/numpy.h>

#include "casters.h"

namespace cnnx::bindings {

/// numpy.asarray, with its own errors for what does not form an array.
py::array as_array(py::handle values);
/// The numbers of the rows where a mask is true.
Tensor rows_of_mask(const Tensor& mask);
/// zeros((2, 3)) and zeros(2, 3).
Shape shape_argument(const py::args& args);

/// Raises TypeError for bfloat16.
py::dtype numpy_dtype(DType dtype);
/// Copies what another library has in bfloat16, which NumPy cannot take; an undefined tensor for anything else.
Tensor tensor_from_bfloat16(py::handle values);
/// Copies an array into a new tensor. Without a dtype, floating arrays keep theirs, integers become int64, booleans
/// stay.
Tensor tensor_from_array(const py::array& array, std::optional<DType> dtype);
/// Shares the array's memory where dtype and layout allow (C order, aligned, native, writable), else copies.
Tensor share_array(const py::array& array);
/// The values where the host can read them, without a record. Other threads go on while it waits for a GPU.
Tensor on_host(const Tensor& tensor);
/// The tensor, or its values in float32 if NumPy has no such numbers.
Tensor for_numpy(const Tensor& tensor);
/// A writable array on the tensor's own memory; the tensor lives as long as the array.
py::array array_from_tensor(const Tensor& tensor);

/// The arguments of __dlpack__; its answer is a capsule on the tensor's own memory where it can be.
py::capsule lend(const Tensor& tensor, const py::object& stream, const py::object& dl_device, const py::object& copy);
py::tuple dlpack_device(const Tensor& x);
Tensor from_dlpack(const py::object& source);

}  // namespace cnnx::bindings
