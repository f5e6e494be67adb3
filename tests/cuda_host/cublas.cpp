// The products of cuBLAS that cnnx calls, by their definition: matrices are column-major, op N = 0, T = 1.

#include "cuda/mma.h"
#include "cuda_runtime.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

/// A handle is the place where its stream is kept.
using Handle = cudaStream_t;

/// value(a, i) is factor i of a.
template <class T, class V, class F>
int multiply_values(F value, void* handle, int op_a, int op_b, int m, int n, int k, const T* alpha, const V* a, int lda,
                    long long stride_a, const V* b, int ldb, long long stride_b, const T* beta, T* c, int ldc,
                    long long stride_c, int count) {
  if (lda < (op_a ? k : m) || ldb < (op_b ? n : k) || ldc < m) return 7;  // CUBLAS_STATUS_INVALID_VALUE
  const T factor = *alpha, keep = *beta;
  const auto thread = [=] {
    const long long item = blockIdx.x;
    for (int j = 0; j < n; ++j) {
      for (int i = 0; i < m; ++i) {
        T sum = 0;
        for (int l = 0; l < k; ++l) {
          sum += value(a, item * stride_a +
                              (op_a ? l + i * static_cast<long long>(lda) : i + l * static_cast<long long>(lda))) *
                 value(b, item * stride_b +
                              (op_b ? j + l * static_cast<long long>(ldb) : l + j * static_cast<long long>(ldb)));
        }
        T& out = c[item * stride_c + i + j * static_cast<long long>(ldc)];
        out = factor * sum + (keep == 0 ? 0 : keep * out);
      }
    }
  };
  cuda_host::submit(*static_cast<Handle*>(handle),
                    [=] { cuda_host::run_grid(dim3(static_cast<unsigned>(count)), dim3(1), 0, thread); });
  return 0;
}

template <class T, class... Args>
int multiply(void* handle, int op_a, int op_b, int m, int n, int k, const T* alpha, const T* a, Args... args) {
  return multiply_values([](const T* x, long long i) { return x[i]; }, handle, op_a, op_b, m, n, k, alpha, a, args...);
}

}  // namespace

EXPORT int cublasCreate_v2(void** handle) {
  if (cuda_host::is_capturing()) return 1;  // CUBLAS_STATUS_NOT_INITIALIZED
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

/// Factors of float32 (type 0), rounded to TF32 under compute type 77, or of float16 (2) or bfloat16 (14).
EXPORT int cublasGemmStridedBatchedEx(void* handle, int op_a, int op_b, int m, int n, int k, const void* alpha,
                                      const void* a, int type_a, int lda, long long stride_a, const void* b, int type_b,
                                      int ldb, long long stride_b, const void* beta, void* c, int type_c, int ldc,
                                      long long stride_c, int count, int compute, int) {
  if (type_a != type_b || type_c != 0 || compute != (type_a == 0 ? 77 : 68)) return 15;  // CUBLAS_STATUS_NOT_SUPPORTED
  const auto run = [&]<class V>(V, auto value) {
    return multiply_values(value, handle, op_a, op_b, m, n, k, static_cast<const float*>(alpha),
                           static_cast<const V*>(a), lda, stride_a, static_cast<const V*>(b), ldb, stride_b,
                           static_cast<const float*>(beta), static_cast<float*>(c), ldc, stride_c, count);
  };
  if (type_a == 0) return run(0.0f, [](const float* x, long long i) { return cuda_host::round_tf32(x[i]); });
  if (type_a == 2) return run(uint16_t{}, [](const uint16_t* x, long long i) { return cuda_host::from_float16(x[i]); });
  if (type_a == 14)
    return run(uint16_t{}, [](const uint16_t* x, long long i) { return cuda_host::from_bfloat16(x[i]); });
  return 15;
}
