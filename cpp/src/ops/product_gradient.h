// Gradients of large weights that stay products of two small matrices until somebody asks for their values.
#pragma once

#include "cnnx/tensor.h"
#include "storage.h"

namespace cnnx {

/// Whether the gradient (out, in) of a weight, a sum of `rows` outer products, is better left to the optimizer, which
/// multiplies it out piece by piece: writing a large matrix and reading it again takes longer than its few
/// multiplications.
bool stays_product(int64_t rows, int64_t in, int64_t out, Device device);

/// A product whose factors the caller fills: left (rows, out) and right (rows, in).
template <class T>
std::shared_ptr<MatrixProduct> make_product(int64_t rows, int64_t in, int64_t out, Device device);

/// The product as a tensor of this shape, which has out * in values.
template <class T>
Tensor product_gradient(std::shared_ptr<const MatrixProduct> product, const Shape& shape);

}  // namespace cnnx
