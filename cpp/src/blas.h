// Matrix products on BLAS, always with one BLAS thread; parallelism is ours.
#pragma once

#include <cstdint>

namespace cnnx {

/// Row-major C = alpha * op(A) op(B) + beta * C with op(A) m x k, op(B) k x n; one thread. T is float or double.
template <class T>
void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, T alpha, const T* a, int64_t lda,
          const T* b, int64_t ldb, T beta, T* c, int64_t ldc);

/// The same over all threads, cut into tiles of C whose sizes depend on m and n only.
template <class T>
void parallel_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, T alpha, const T* a,
                   int64_t lda, const T* b, int64_t ldb, T beta, T* c, int64_t ldc);

}  // namespace cnnx
