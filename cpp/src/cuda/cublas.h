// Matrix products by cuBLAS, where it is installed: found when the first product is wanted, never linked.
#pragma once

#include "cuda/matrix_product.h"

namespace cnnx::cuda {

/// As matrix_product() without a bias; false, and nothing done, if there is no cuBLAS.
template <class T>
bool cublas_product(const Product& p, const T* a, const T* b, T* c);

}  // namespace cnnx::cuda
