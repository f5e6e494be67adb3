// The two products of cuBLAS that cnnx calls, by their definition: matrices are column-major, op N = 0, T = 1.

#include "cuda_runtime.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

int handles = 0;

template <class T>
int multiply(int op_a, int op_b, int m, int n, int k, const T* alpha, const T* a, int lda, long long stride_a,
             const T* b, int ldb, long long stride_b, const T* beta, T* c, int ldc, long long stride_c, int count) {
  if (lda < (op_a ? k : m) || ldb < (op_b ? n : k) || ldc < m) return 7;  // CUBLAS_STATUS_INVALID_VALUE
  cuda_host::run_grid(dim3(static_cast<unsigned>(count)), dim3(1), [=] {
    const long long item = blockIdx.x;
    for (int j = 0; j < n; ++j) {
      for (int i = 0; i < m; ++i) {
        T sum = 0;
        for (int l = 0; l < k; ++l) {
          sum +=
              a[item * stride_a + (op_a ? l + i * static_cast<long long>(lda) : i + l * static_cast<long long>(lda))] *
              b[item * stride_b + (op_b ? j + l * static_cast<long long>(ldb) : l + j * static_cast<long long>(ldb))];
        }
        T& out = c[item * stride_c + i + j * static_cast<long long>(ldc)];
        out = *alpha * sum + (*beta == 0 ? 0 : *beta * out);
      }
    }
  });
  return 0;
}

}  // namespace

EXPORT int cublasCreate_v2(void** handle) {
  *handle = &handles;
  ++handles;
  return 0;
}
EXPORT int cublasSetStream_v2(void*, cudaStream_t) { return 0; }
EXPORT int cublasSgemmStridedBatched(void*, int op_a, int op_b, int m, int n, int k, const float* alpha, const float* a,
                                     int lda, long long stride_a, const float* b, int ldb, long long stride_b,
                                     const float* beta, float* c, int ldc, long long stride_c, int count) {
  return multiply(op_a, op_b, m, n, k, alpha, a, lda, stride_a, b, ldb, stride_b, beta, c, ldc, stride_c, count);
}
EXPORT int cublasDgemmStridedBatched(void*, int op_a, int op_b, int m, int n, int k, const double* alpha,
                                     const double* a, int lda, long long stride_a, const double* b, int ldb,
                                     long long stride_b, const double* beta, double* c, int ldc, long long stride_c,
                                     int count) {
  return multiply(op_a, op_b, m, n, k, alpha, a, lda, stride_a, b, ldb, stride_b, beta, c, ldc, stride_c, count);
}
