// Tensor: shapes, dtypes, creation and access. Operations on values live in ops/.
#include "cnnx/tensor.h"

#include <cmath>
#include <iomanip>

#include "autograd.h"
#include "check.h"
#include "cnnx/exchange.h"
#include "cuda/capture.h"
#include "tensor_impl.h"

namespace cnnx {

std::string_view dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kBool: return "bool";
    case DType::kInt64: return "int64";
    case DType::kFloat16: return "float16";
    case DType::kBFloat16: return "bfloat16";
    case DType::kFloat32: return "float32";
    default: return "float64";
  }
}

DType parse_dtype(std::string_view name) {
  for (const DType dtype : kDTypes) {
    if (dtype_name(dtype) == name) return dtype;
  }
  fail("dtype", "expected \"float32\", \"float64\", \"float16\", \"bfloat16\", \"int64\" or \"bool\"; got \"{}\".",
       name);
}

int64_t dtype_size(DType dtype) {
  return dispatch_all(dtype, [](auto t) { return static_cast<int64_t>(sizeof(t)); });
}

DType promote_types(DType a, DType b) {
  return a != b && is_16_bit(a) && is_16_bit(b) ? DType::kFloat32 : std::max(a, b);
}

Shape::Shape(std::span<const int64_t> sizes) {
  check(sizes.size() <= kMaxRank, "shape", "a tensor has at most {} axes; got {}.", kMaxRank, sizes.size());
  for (const int64_t size : sizes) push_back(size);
}

int64_t Shape::numel() const {
  int64_t count = 1;
  for (const int64_t size : *this) count *= size;
  return count;
}

void Shape::push_back(int64_t size) {
  check(rank_ < kMaxRank, "shape", "a tensor has at most {} axes.", kMaxRank);
  sizes_[static_cast<size_t>(rank_++)] = size;
}

bool Shape::operator==(const Shape& other) const { return std::equal(begin(), end(), other.begin(), other.end()); }

std::string Shape::str() const {
  std::string text = "(";
  for (int axis = 0; axis < rank_; ++axis) text += (axis ? ", " : "") + std::to_string((*this)[axis]);
  return text + (rank_ == 1 ? ",)" : ")");
}

// ---- Creation

Tensor make_tensor(std::shared_ptr<Storage> storage, const Shape& shape, DType dtype) {
  auto impl = std::make_shared<TensorImpl>();
  impl->storage = std::move(storage);
  impl->shape = shape;
  impl->dtype = dtype;
  return Tensor(std::move(impl));
}

Tensor empty(const Shape& shape, TensorOptions options) {
  check_numel("empty", shape);
  const auto bytes = static_cast<size_t>(shape.numel() * dtype_size(options.dtype));
  Tensor result = make_tensor(std::make_shared<Storage>(bytes, options.device), shape, options.dtype);
  if (options.requires_grad) result.set_requires_grad(true);
  return result;
}

Tensor full(const Shape& shape, Scalar value, TensorOptions options) {
  Tensor result = empty(shape, {options.dtype, options.device});
  result.fill_(value);
  return result.set_requires_grad(options.requires_grad);
}

Tensor zeros(const Shape& shape, TensorOptions options) { return full(shape, 0, options); }
Tensor ones(const Shape& shape, TensorOptions options) { return full(shape, 1, options); }
Tensor empty_like(const Tensor& x, const Shape& shape) { return empty(shape, {x.dtype(), x.device()}); }
Tensor empty_like(const Tensor& x) { return empty_like(x, x.shape()); }
Tensor zeros_like(const Tensor& x) { return zeros(x.shape(), {x.dtype(), x.device()}); }

Tensor tensor(std::span<const double> values, const Shape& shape, TensorOptions options) {
  check(static_cast<int64_t>(values.size()) == shape.numel(), "tensor", "shape {} needs {} values; got {}.", shape,
        shape.numel(), values.size());
  Tensor result = empty(shape, {options.dtype});
  dispatch_all(options.dtype, [&](auto t) {
    using T = decltype(t);
    std::transform(values.begin(), values.end(), result.data<T>(), [](double v) { return static_cast<T>(v); });
  });
  if (options.device != Device()) result = result.to(options.device);
  return result.set_requires_grad(options.requires_grad);
}

namespace {

/// Where values begin, where they stop and how far they are apart.
struct Range {
  Scalar start, stop, step;

  bool is_exact() const { return start.is_integer() && stop.is_integer() && step.is_integer(); }

  int64_t count() const {
    const auto from = start.as<double>(), to = stop.as<double>(), by = step.as<double>();
    check(by != 0 && std::isfinite(from) && std::isfinite(to) && std::isfinite(by), "arange",
          "start, stop and step must be finite and step not zero; got {}, {}, {}.", from, to, by);
    const double count = is_exact() ? static_cast<double>(exact_count()) : std::max(0.0, std::ceil((to - from) / by));
    check(count < 1e15, "arange", "the range from {} to {} by {} has too many values.", from, to, by);
    return static_cast<int64_t>(count);
  }

  template <class T>
  T at(int64_t i) const {
    if (!is_exact()) return static_cast<T>(start.as<double>() + static_cast<double>(i) * step.as<double>());
    return static_cast<T>(static_cast<int64_t>(start.as<uint64_t>() + static_cast<uint64_t>(i) * step.as<uint64_t>()));
  }

 private:
  /// Unsigned, as the distance may be more than the largest int64.
  uint64_t exact_count() const {
    const bool ascends = step.as<int64_t>() > 0;
    if (ascends ? start.as<int64_t>() >= stop.as<int64_t>() : start.as<int64_t>() <= stop.as<int64_t>()) return 0;
    const uint64_t up = stop.as<uint64_t>() - start.as<uint64_t>(), by = step.as<uint64_t>();
    return ascends ? (up - 1) / by + 1 : (0 - up - 1) / (0 - by) + 1;
  }
};

}  // namespace

Tensor arange(Scalar start, Scalar stop, Scalar step, TensorOptions options) {
  const Range range{start, stop, step};
  Tensor result = empty({range.count()}, {options.dtype});
  dispatch_all(options.dtype, [&](auto t) {
    using T = decltype(t);
    T* values = result.data<T>();
    for (int64_t i = 0; i < result.numel(); ++i) values[i] = range.at<T>(i);
  });
  if (options.device != Device()) result = result.to(options.device);
  return result.set_requires_grad(options.requires_grad);
}

Tensor from_memory(void* data, const Shape& shape, TensorOptions options, std::function<void()> release) {
  check_numel("from_memory", shape);
  const auto bytes = static_cast<size_t>(shape.numel() * dtype_size(options.dtype));
  Tensor result =
      make_tensor(std::make_shared<Storage>(data, bytes, options.device, std::move(release)), shape, options.dtype);
  return result.set_requires_grad(options.requires_grad);
}

// ---- Access

namespace {
TensorImpl& deref(const std::shared_ptr<TensorImpl>& impl) {
  check(impl != nullptr, "tensor", "an undefined tensor was used.");
  return *impl;
}
}  // namespace

void*& Tensor::binding() const { return deref(impl_).binding; }
const Shape& Tensor::shape() const { return deref(impl_).shape; }
DType Tensor::dtype() const { return deref(impl_).dtype; }
Device Tensor::device() const { return deref(impl_).storage->device(); }
int64_t Tensor::size(int axis) const { return shape()[normalize_axis("size", axis, rank())]; }
Loan::Loan(const Tensor& tensor) : storage_(deref(tensor.impl()).storage) { storage_->lend(); }
Loan::~Loan() { storage_->take_back(); }
void* Loan::data() const { return storage_->data(); }
bool overlap(const Tensor& a, const Tensor& b) {
  const auto *from = static_cast<const char*>(a.raw_data()), *to = static_cast<const char*>(b.raw_data());
  const auto bytes = [](const Tensor& t) { return t.numel() * dtype_size(t.dtype()); };
  return from < to + bytes(b) && to < from + bytes(a);
}
void note_write(const Tensor& tensor) { deref(tensor.impl()).storage->bump_version(); }

void* Tensor::raw_data() {
  Storage& storage = *deref(impl_).storage;
  note_captured_use(impl_);
  storage.note_access();
  return storage.data();
}
const void* Tensor::raw_data() const {
  const Storage& storage = *deref(impl_).storage;
  note_captured_use(impl_);
  return storage.data();
}

template <class T>
T* Tensor::data() {
  check(dtype() == dtype_of<T>(), "data", "the tensor holds {}; got a request for {}.", dtype(), dtype_of<T>());
  return static_cast<T*>(raw_data());
}
template <class T>
const T* Tensor::data() const {
  check(dtype() == dtype_of<T>(), "data", "the tensor holds {}; got a request for {}.", dtype(), dtype_of<T>());
  return static_cast<const T*>(raw_data());
}
#define CNNX_INSTANTIATE_DATA(T)          \
  template CNNX_API T* Tensor::data<T>(); \
  template CNNX_API const T* Tensor::data<T>() const;
CNNX_INSTANTIATE_DATA(bool)
CNNX_INSTANTIATE_DATA(int64_t)
CNNX_INSTANTIATE_DATA(float16)
CNNX_INSTANTIATE_DATA(bfloat16)
CNNX_INSTANTIATE_DATA(float)
CNNX_INSTANTIATE_DATA(double)
#undef CNNX_INSTANTIATE_DATA

double Tensor::item() const {
  check(numel() == 1, "item", "only a tensor of one element converts to a number; got shape {}.", shape());
  return to_vector()[0];
}

int64_t Tensor::item_int() const {
  check(numel() == 1, "item", "only a tensor of one element converts to a number; got shape {}.", shape());
  return dtype() == DType::kInt64 ? to(Device()).data<int64_t>()[0] : static_cast<int64_t>(item());
}

std::vector<double> Tensor::to_vector() const {
  const Tensor host = detach().to(Device());
  return dispatch_all(dtype(), [&](auto t) {
    const auto* values = host.data<decltype(t)>();
    return std::vector<double>(values, values + numel());
  });
}

// ---- Gradient record

bool Tensor::requires_grad() const { return impl_ && impl_->node; }
bool Tensor::is_leaf() const { return !impl_ || !impl_->node || impl_->node->is_leaf(); }

Tensor& Tensor::set_requires_grad(bool on) {
  TensorImpl& impl = deref(impl_);
  check<std::runtime_error>(is_leaf(), "requires_grad",
                            "only leaf tensors have a settable flag; this is the result of {}. Use detach().",
                            impl.node ? impl.node->op : "");
  check(!on || is_floating(impl.dtype), "requires_grad", "only floating-point tensors have gradients; got {}.",
        impl.dtype);
  if (on && !impl.node) impl.node = std::make_shared<Node>();
  if (!on) impl.node = nullptr;
  return *this;
}

Tensor Tensor::grad() const { return is_leaf() && requires_grad() ? impl_->node->grad : Tensor(); }

void Tensor::set_grad(const Tensor& grad) {
  if (!grad.defined()) {
    if (requires_grad()) impl_->node->grad = {};
    return;
  }
  check(requires_grad() && is_leaf(), "grad", "only a leaf that requires a gradient has one to set.");
  check(grad.shape() == shape(), "grad", "the gradient must have the tensor's shape {}; got {}.", shape(),
        grad.shape());
  check_like("grad", "the gradient", *this, grad);
  impl_->node->grad = grad.detach();
}

Tensor Tensor::detach() const {
  const TensorImpl& impl = deref(impl_);
  return make_tensor(impl.storage, impl.shape, impl.dtype);
}

void Tensor::set_data(const Tensor& other) {
  TensorImpl& impl = deref(impl_);
  const TensorImpl& source = deref(other.impl_);
  check(!impl.node || is_floating(source.dtype), "set_data", "a tensor with a gradient must stay floating; got {}.",
        source.dtype);
  impl.storage = source.storage;
  impl.shape = source.shape;
  impl.dtype = source.dtype;
  if (impl.node && impl.node->is_leaf()) impl.node->grad = {};
}

// ---- Text

namespace {

constexpr int64_t kEdgeItems = 3;  // shown at each end of an axis longer than 2 * kEdgeItems in a large tensor
constexpr int64_t kSummarizeAbove = 1000;

std::string value_text(const Tensor& tensor, int64_t i) {
  if (tensor.dtype() == DType::kBool) return tensor.data<bool>()[i] ? "True" : "False";
  if (tensor.dtype() == DType::kInt64) return std::to_string(tensor.data<int64_t>()[i]);
  const auto value =
      dispatch_all(tensor.dtype(), [&](auto t) { return static_cast<double>(tensor.data<decltype(t)>()[i]); });
  if (std::isnan(value)) return "nan";
  std::ostringstream text;
  text << std::setprecision(6) << value;
  const bool plain = std::isfinite(value) && text.str().find_first_of(".e") == std::string::npos;
  return text.str() + (plain ? "." : "");
}

void print_values(std::ostream& out, const Tensor& tensor, int axis, int64_t offset, int indent) {
  const Shape& shape = tensor.shape();
  if (axis == shape.rank()) {
    out << value_text(tensor, offset);
    return;
  }
  int64_t stride = 1;
  for (int next = axis + 1; next < shape.rank(); ++next) stride *= shape[next];
  const bool summarize = shape.numel() > kSummarizeAbove && shape[axis] > 2 * kEdgeItems;
  const bool last = axis == shape.rank() - 1;
  const std::string separator = last ? ", " : ",\n" + std::string(static_cast<size_t>(indent) + 1, ' ');
  out << '[';
  for (int64_t i = 0; i < shape[axis]; ++i) {
    if (i > 0) out << separator;
    if (summarize && i == kEdgeItems) {
      out << "...";
      i = shape[axis] - kEdgeItems - 1;
      continue;
    }
    print_values(out, tensor, axis + 1, offset + i * stride, indent + 1);
  }
  out << ']';
}

}  // namespace

std::string Tensor::str() const {
  if (!defined()) return "tensor(undefined)";
  std::ostringstream out;
  out << "tensor(";
  if (!device().is_meta()) print_values(out, to(Device()), 0, 0, 7);
  if (device().is_meta()) out << "..., shape=" << shape().str();
  if (dtype() == DType::kFloat64 || is_16_bit(dtype()) || (dtype() == DType::kInt64 && numel() == 0))
    out << ", dtype=" << dtype_name(dtype());
  if (numel() == 0 && rank() > 1) out << ", shape=" << shape().str();
  if (device() != Device()) out << ", device=" << device().str();
  if (requires_grad()) out << (is_leaf() ? ", requires_grad=True" : ", op=" + std::string(impl_->node->op));
  out << ')';
  return out.str();
}

}  // namespace cnnx
