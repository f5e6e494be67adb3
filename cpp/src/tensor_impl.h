// What a Tensor handle points to.
#pragma once

#include <memory>

#include "cnnx/tensor.h"
#include "storage.h"

namespace cnnx {

struct TensorImpl {
  std::shared_ptr<Storage> storage;
  Shape shape;
  DType dtype = DType::kFloat32;
  std::shared_ptr<Node> node;  // null: no gradient flows here
  void* binding = nullptr;     // a language binding's own
};

/// A tensor on an existing buffer, without a gradient record.
Tensor make_tensor(std::shared_ptr<Storage> storage, const Shape& shape, DType dtype);
/// An uninitialised tensor of x's device.
Tensor empty_like(const Tensor& x, const Shape& shape);
Tensor empty_like(const Tensor& x);
Tensor zeros_like(const Tensor& x);

/// Whether some byte belongs to both tensors.
bool overlap(const Tensor& a, const Tensor& b);

/// The buffer, or null of an undefined tensor: an optional argument of a kernel.
template <class T>
T* data_or_null(Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}
template <class T>
const T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

inline constexpr DType kDTypes[] = {DType::kBool,     DType::kInt64,   DType::kFloat16,
                                    DType::kBFloat16, DType::kFloat32, DType::kFloat64};

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<bool>() {
  return DType::kBool;
}
template <>
constexpr DType dtype_of<int64_t>() {
  return DType::kInt64;
}
template <>
constexpr DType dtype_of<float16>() {
  return DType::kFloat16;
}
template <>
constexpr DType dtype_of<bfloat16>() {
  return DType::kBFloat16;
}
template <>
constexpr DType dtype_of<float>() {
  return DType::kFloat32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::kFloat64;
}

/// Calls fn with a value of the C++ type in which a floating dtype is computed: dispatch_floating(x.dtype(), [&](auto
/// t) { using T = decltype(t); ... }).
template <class F>
decltype(auto) dispatch_floating(DType dtype, F&& fn) {
  return dtype == DType::kFloat64 ? fn(double{}) : fn(float{});
}

/// The same for every dtype.
template <class F>
decltype(auto) dispatch_all(DType dtype, F&& fn) {
  switch (dtype) {
    case DType::kBool: return fn(bool{});
    case DType::kInt64: return fn(int64_t{});
    case DType::kFloat16: return fn(float16{});
    case DType::kBFloat16: return fn(bfloat16{});
    case DType::kFloat32: return fn(float{});
    default: return fn(double{});
  }
}

}  // namespace cnnx
