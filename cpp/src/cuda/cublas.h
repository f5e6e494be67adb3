// Matrix products by cuBLAS, where it is installed: found when the first product is wanted, never linked.
#pragma once

#include "cuda/matrix_product.h"

namespace cnnx::cuda {

/// As matrix_product() without a bias; false, and nothing done, if there is no cuBLAS.
template <class T>
bool cublas_product(const Product& p, const T* a, const T* b, T* c);

/// Whether products may be given to cuBLAS now.
bool has_cublas();
/// Makes, if there is cuBLAS, the handle of the calling thread's device, for which a capture may not wait.
void prepare_cublas();
/// The same on tensor cores, with the factors as p.precision has them in memory: float32 for TF32, which rounds them on
/// its way, else 16 bits.
void cublas_tensor_product(const Product& p, const void* a, const void* b, float* c);

}  // namespace cnnx::cuda
