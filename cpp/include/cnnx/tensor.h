// Tensor: a handle on a contiguous, row-major buffer with shape, dtype, device and an optional gradient record.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cnnx/device.h"
#include "cnnx/half.h"

namespace cnnx {

enum class DType : unsigned char { kBool, kInt64, kFloat16, kBFloat16, kFloat32, kFloat64 };

CNNX_API std::string_view dtype_name(DType dtype);
/// Parses "bool", "int64", "float16", "bfloat16", "float32" or "float64".
CNNX_API DType parse_dtype(std::string_view name);
CNNX_API int64_t dtype_size(DType dtype);
/// The dtype of what is computed from both: the later one, but float32 for float16 and bfloat16.
CNNX_API DType promote_types(DType a, DType b);
constexpr bool is_floating(DType dtype) { return dtype >= DType::kFloat16; }
/// float16 or bfloat16: operations on them compute in float32.
constexpr bool is_16_bit(DType dtype) { return dtype == DType::kFloat16 || dtype == DType::kBFloat16; }

/// A number as an argument: integers stay exact.
class Scalar {
 public:
  Scalar() = default;
  template <std::integral T>
  Scalar(T value)
      : integer_(static_cast<int64_t>(value)), dtype_(std::same_as<T, bool> ? DType::kBool : DType::kInt64) {}
  template <std::floating_point T>
  Scalar(T value) : real_(value) {}

  /// Of a tensor made from it: bool, int64 or float32.
  DType dtype() const { return dtype_; }
  bool is_integer() const { return !is_floating(dtype_); }
  template <class T>
  T as() const {
    return is_integer() ? static_cast<T>(integer_) : static_cast<T>(real_);
  }

 private:
  double real_ = 0;
  int64_t integer_ = 0;
  DType dtype_ = DType::kFloat32;
};

/// Up to eight axis lengths, stored inline. Images are (N, C, H, W).
class CNNX_API Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) : Shape(std::span(sizes.begin(), sizes.size())) {}
  explicit Shape(std::span<const int64_t> sizes);

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return sizes_[static_cast<size_t>(axis)]; }
  int64_t& operator[](int axis) { return sizes_[static_cast<size_t>(axis)]; }
  const int64_t* begin() const { return sizes_.data(); }
  const int64_t* end() const { return sizes_.data() + rank_; }
  int64_t numel() const;
  void push_back(int64_t size);
  bool operator==(const Shape& other) const;
  /// "(2, 3)" as Python writes a tuple.
  std::string str() const;

 private:
  std::array<int64_t, kMaxRank> sizes_{};
  int rank_ = 0;
};

/// start:stop:step as Python reads it: negative numbers count from the end, none means from or to the end.
struct Slice {
  std::optional<int64_t> start = std::nullopt, stop = std::nullopt;
  int64_t step = 1;
};
struct Ellipsis {};  ///< As many whole axes as the other entries of an index leave.
struct NewAxis {};   ///< An axis of length 1 in the result.
/// An entry of an index. An integer takes one place of its axis, which the result does not have.
using Index = std::variant<int64_t, Slice, Ellipsis, NewAxis>;

struct TensorImpl;
struct Node;

class CNNX_API Tensor {
 public:
  /// An undefined tensor: "no bias", "no gradient".
  Tensor() = default;
  explicit Tensor(std::shared_ptr<TensorImpl> impl) : impl_(std::move(impl)) {}

  bool defined() const { return impl_ != nullptr; }
  explicit operator bool() const { return defined(); }
  const Shape& shape() const;
  int64_t size(int axis) const;  ///< Length of an axis; negative axes count from the end.
  int rank() const { return shape().rank(); }
  int64_t numel() const { return shape().numel(); }
  DType dtype() const;
  Device device() const;

  /// The buffer; T is float, double, float16, bfloat16, int64_t or bool and must match dtype(). Ask for the writable
  /// pointer again before you write again after an operation has used the tensor: convolution keeps a reordered copy of
  /// an unchanged weight.
  template <class T>
  T* data();
  template <class T>
  const T* data() const;
  void* raw_data();
  const void* raw_data() const;

  /// The single value of a one-element tensor, converted to double (exact for all but large int64).
  double item() const;
  int64_t item_int() const;
  std::vector<double> to_vector() const;  ///< All values in row-major order.
  std::string str() const;

  // Gradients.
  bool requires_grad() const;
  Tensor& set_requires_grad(bool on);
  bool is_leaf() const;
  Tensor grad() const;  ///< Undefined until a backward pass has reached this leaf.
  void set_grad(const Tensor& grad);
  /// Accumulates d(this)/d(leaf) into every leaf's grad. A tensor of one element needs no gradient argument.
  void backward(const Tensor& gradient = {}, bool retain_graph = false) const;
  Tensor detach() const;  ///< The same buffer without the gradient record.

  // Copies, conversions and changes in place. Of those whose names end in _ only index_put_ is recorded.
  Tensor clone() const;
  Tensor contiguous_copy() const { return clone(); }
  Tensor to(DType dtype) const;
  /// From page-locked memory to a GPU, non_blocking returns before the copy is made: do not change the tensor until
  /// then.
  Tensor to(Device device, bool non_blocking = false) const;
  /// Writes the values of source (same shape, any dtype) into this buffer. Not recorded.
  Tensor& copy_(const Tensor& source);
  Tensor& fill_(Scalar value);
  /// Arithmetic where this tensor lies; `other` is broadcast to its shape. std::runtime_error if the tape would record
  /// it, std::invalid_argument if this dtype cannot hold the result.
  Tensor& add_(const Tensor& other);
  Tensor& sub_(const Tensor& other);
  Tensor& mul_(const Tensor& other);
  Tensor& div_(const Tensor& other);
  /// x[index] = value, which is broadcast and converted. Recorded: a gradient reaches the value, and what was there
  /// gets none. std::runtime_error for a leaf that requires a gradient, or if the memory is shared, as a reshaped
  /// tensor's is.
  Tensor& index_put_(const std::vector<Index>& index, const Tensor& value);
  /// Makes this handle, and every copy of it, refer to other's buffer, shape and dtype; keeps requires_grad.
  void set_data(const Tensor& other);

  // Views of the same buffer.
  Tensor reshape(const Shape& shape) const;  ///< One length may be -1.
  Tensor flatten(int start_axis = 0, int end_axis = -1) const;
  Tensor squeeze(int axis) const;
  Tensor unsqueeze(int axis) const;

  // Copies.
  Tensor transpose(int axis0, int axis1) const;
  Tensor select(int64_t index) const;                                 ///< x[index] on the first axis.
  Tensor slice(int64_t start, int64_t stop, int64_t step = 1) const;  ///< x[start:stop:step] on the first axis.
  /// x[rows] on the first axis, for int64 rows of any shape: the result's shape is theirs, then the other axes'.
  Tensor index_rows(const Tensor& rows) const;
  /// The same on as many axes as there are tensors of numbers, which are broadcast: x[rows, columns].
  Tensor index_rows(std::span<const Tensor> rows) const;
  /// What Python writes as x[1, ..., 2:4]: x.index({1, Ellipsis{}, Slice{2, 4}}). std::out_of_range if it is not there.
  Tensor index(const std::vector<Index>& index) const;

  // Element-wise and reductions; see ops.h for the free functions.
  Tensor sum(std::span<const int> axes = {}, bool keepdim = false) const;
  Tensor mean(std::span<const int> axes = {}, bool keepdim = false) const;
  Tensor max(std::span<const int> axes = {}, bool keepdim = false) const;
  Tensor min(std::span<const int> axes = {}, bool keepdim = false) const;
  Tensor argmax(std::optional<int> axis = std::nullopt, bool keepdim = false) const;

  const std::shared_ptr<TensorImpl>& impl() const { return impl_; }
  /// For a language binding: where it keeps the one object that stands for this tensor and all copies of the handle.
  void*& binding() const;

 private:
  std::shared_ptr<TensorImpl> impl_;
};

// Creation. Values are zero, one, given, uniform in [0, 1) or standard normal.
struct TensorOptions {
  DType dtype = DType::kFloat32;
  Device device = {};
  bool requires_grad = false;
};
CNNX_API Tensor empty(const Shape& shape, TensorOptions options = {});
CNNX_API Tensor zeros(const Shape& shape, TensorOptions options = {});
CNNX_API Tensor ones(const Shape& shape, TensorOptions options = {});
CNNX_API Tensor full(const Shape& shape, Scalar value, TensorOptions options = {});
CNNX_API Tensor rand(const Shape& shape, TensorOptions options = {});
CNNX_API Tensor randn(const Shape& shape, TensorOptions options = {});
CNNX_API Tensor arange(Scalar start, Scalar stop, Scalar step = 1, TensorOptions options = {});
/// Copies values (row-major) into a new tensor.
CNNX_API Tensor tensor(std::span<const double> values, const Shape& shape, TensorOptions options = {});
/// Wraps memory owned by somebody else; `release` runs when the last handle is gone.
CNNX_API Tensor from_memory(void* data, const Shape& shape, TensorOptions options, std::function<void()> release);

/// Seeds the generator behind rand, randn, dropout and initialisation.
CNNX_API void manual_seed(uint64_t seed);

/// While one lives, this thread records nothing on the tape.
class CNNX_API NoGradGuard {
 public:
  NoGradGuard();
  ~NoGradGuard();
  NoGradGuard(const NoGradGuard&) = delete;
  NoGradGuard& operator=(const NoGradGuard&) = delete;

 private:
  bool previous_;
};
CNNX_API bool is_grad_enabled();
CNNX_API void set_grad_enabled(bool on);

}  // namespace cnnx
