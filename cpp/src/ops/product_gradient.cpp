// Gradients of large weights that stay products of two small matrices.
#include "ops/product_gradient.h"

#include <utility>

#include "kernels.h"
#include "ops/linear.h"
#include "tensor_impl.h"

namespace cnnx {
namespace {

template <class T>
void multiply(const MatrixProduct& p, void* to) {
  kernels<LinearKernels<T>>(p.left.device())
      .backward_weight({p.rows, p.in, p.out}, static_cast<const T*>(p.right.data()),
                       static_cast<const T*>(p.left.data()), static_cast<T*>(to));
}

}  // namespace

bool stays_product(int64_t rows, int64_t in, int64_t out, Device device) {
  constexpr int64_t kLarge = 1 << 17, kMuchLess = 4;
  return !device.is_cuda() && in * out >= kLarge && rows > 0 && rows <= kMostOuterProducts &&
         kMuchLess * rows * (in + out) <= in * out;
}

template <class T>
std::shared_ptr<MatrixProduct> make_product(int64_t rows, int64_t in, int64_t out, Device device) {
  constexpr int64_t kReadPast = 64;  // bytes behind the right factor, whose rows are read in whole vectors
  const MemoryKindGuard guard(MemoryKind::kGradient);
  const auto bytes = [](int64_t values) { return static_cast<size_t>(values) * sizeof(T); };
  return std::shared_ptr<MatrixProduct>(new MatrixProduct{
      rows, in, out, {bytes(rows * out), device}, {bytes(rows * in) + kReadPast, device}, multiply<T>});
}

template <class T>
Tensor product_gradient(std::shared_ptr<const MatrixProduct> product, const Shape& shape) {
  const MemoryKindGuard guard(MemoryKind::kGradient);
  const Device device = product->left.device();
  const auto bytes = static_cast<size_t>(shape.numel()) * sizeof(T);
  return make_tensor(std::make_shared<Storage>(std::move(product), bytes, device), shape, dtype_of<T>());
}

template std::shared_ptr<MatrixProduct> make_product<float>(int64_t, int64_t, int64_t, Device);
template std::shared_ptr<MatrixProduct> make_product<double>(int64_t, int64_t, int64_t, Device);
template Tensor product_gradient<float>(std::shared_ptr<const MatrixProduct>, const Shape&);
template Tensor product_gradient<double>(std::shared_ptr<const MatrixProduct>, const Shape&);

}  // namespace cnnx
