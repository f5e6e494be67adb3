// gemm on CBLAS. The only file that includes a BLAS header.
#include "blas.h"

#include <cblas.h>
#include <algorithm>

#include "parallel.h"
#include "rounding.h"

#define CNNX_CONCAT_(a, b) a##b
#define CNNX_CONCAT(a, b) CNNX_CONCAT_(a, b)
#define CNNX_BLAS(name) CNNX_CONCAT(CNNX_BLAS_SYMBOL_PREFIX, name)

namespace cnnx {
namespace {

/// One BLAS thread for good: parallel_for divides the work.
void use_one_blas_thread() {
#if defined(OPENBLAS_VERSION)
  static const bool once = [] {
    CNNX_BLAS(openblas_set_num_threads)(1);
    return true;
  }();
  (void)once;
#endif
}

/// Rows or columns of a tile: `most`, or less, down to `least`, where that makes work for several threads.
int64_t tile_length(int64_t length, int64_t most, int64_t least) {
  constexpr int64_t kEnough = 4, kGranule = 32;
  return std::clamp(round_up(ceil_div(length, kEnough), kGranule), least, most);
}

}  // namespace

template <class T>
void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, T alpha, const T* a, int64_t lda,
          const T* b, int64_t ldb, T beta, T* c, int64_t ldc) {
  use_one_blas_thread();
  const auto ta = transpose_a ? CblasTrans : CblasNoTrans;
  const auto tb = transpose_b ? CblasTrans : CblasNoTrans;
  const auto i = [](int64_t value) { return static_cast<blasint>(value); };
  if constexpr (sizeof(T) == sizeof(float)) {
    CNNX_BLAS(cblas_sgemm)(CblasRowMajor, ta, tb, i(m), i(n), i(k), alpha, a, i(lda), b, i(ldb), beta, c, i(ldc));
  } else {
    CNNX_BLAS(cblas_dgemm)(CblasRowMajor, ta, tb, i(m), i(n), i(k), alpha, a, i(lda), b, i(ldb), beta, c, i(ldc));
  }
}

template <class T>
void parallel_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, T alpha, const T* a,
                   int64_t lda, const T* b, int64_t ldb, T beta, T* c, int64_t ldc) {
  const int64_t rows = tile_length(m, 192, 96), cols = tile_length(n, 512, 64);
  const int64_t tiles_m = ceil_div(m, rows), tiles_n = ceil_div(n, cols);
  parallel_for(tiles_m * tiles_n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t m0 = tile / tiles_n * rows, n0 = tile % tiles_n * cols;
      gemm<T>(transpose_a, transpose_b, std::min(rows, m - m0), std::min(cols, n - n0), k, alpha,
              a + (transpose_a ? m0 : m0 * lda), lda, b + (transpose_b ? n0 * ldb : n0), ldb, beta, c + m0 * ldc + n0,
              ldc);
    }
  });
}

template void gemm<float>(bool, bool, int64_t, int64_t, int64_t, float, const float*, int64_t, const float*, int64_t,
                          float, float*, int64_t);
template void gemm<double>(bool, bool, int64_t, int64_t, int64_t, double, const double*, int64_t, const double*,
                           int64_t, double, double*, int64_t);
template void parallel_gemm<float>(bool, bool, int64_t, int64_t, int64_t, float, const float*, int64_t, const float*,
                                   int64_t, float, float*, int64_t);
template void parallel_gemm<double>(bool, bool, int64_t, int64_t, int64_t, double, const double*, int64_t,
                                    const double*, int64_t, double, double*, int64_t);

}  // namespace cnnx
