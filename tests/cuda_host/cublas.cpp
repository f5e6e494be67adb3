// The two products of cuBLAS that cnnx calls, by their definition: matrices are column-major, op N = 0, T = 1.

#include "cuda_runtime.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

/// A handle is the place where its stream is kept.
using Handle = cudaStream_t;

template <class T>
int multiply(void* handle, int op_a, int op_b, int m, int n, int k, const T* alpha, const T* a, int lda,
             long long stride_a, const T* b, int ldb, long long stride_b, const T* beta, T* c, int ldc,
             long long stride_c, int count) {
  if (lda < (op_a ? k : m) || ldb < (op_b ? n : k) || ldc < m) return 7;  // CUBLAS_STATUS_INVALID_VALUE
  const T factor = *alpha, keep = *beta;
  const auto thread = [=] {
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
        out = factor * sum + (keep == 0 ? 0 : keep * out);
      }
    }
  };
  cuda_host::submit(*static_cast<Handle*>(handle),
                    [=] { cuda_host::run_grid(dim3(static_cast<unsigned>(count)), dim3(1), thread); });
  return 0;
}

}  // namespace

EXPORT int cublasCreate_v2(void** handle) {
  *handle = new Handle(nullptr);
  return 0;
}
EXPORT int cublasSetStream_v2(void* handle, cudaStream_t stream) {
  *static_cast<Handle*>(handle) = stream;
  return 0;
}
EXPORT int cublasSgemmStridedBatched(void* handle, int op_a, int op_b, int m, int n, int k, const float* alpha,
                                     const float* a, int lda, long long stride_a, const float* b, int ldb,
                                     long long stride_b, const float* beta, float* c, int ldc, long long stride_c,
                                     int count) {
  return multiply(handle, op_a, op_b, m, n, k, alpha, a, lda, stride_a, b, ldb, stride_b, beta, c, ldc, stride_c,
                  count);
}
EXPORT int cublasDgemmStridedBatched(void* handle, int op_a, int op_b, int m, int n, int k, const double* alpha,
                                     const double* a, int lda, long long stride_a, const double* b, int ldb,
                                     long long stride_b, const double* beta, double* c, int ldc, long long stride_c,
                                     int count) {
  return multiply(handle, op_a, op_b, m, n, k, alpha, a, lda, stride_a, b, ldb, stride_b, beta, c, ldc, stride_c,
                  count);
}
