// Matrix products by cuBLAS where there is one, else as tiles, with operands read in fours where they can be. On tensor
// cores, operands are rounded before.
#include "cuda/matrix_product.h"

#include "cuda/cublas.h"
#include "cuda/gemm.h"
#include "cuda/precision.h"
#include "cuda/tensor_cores.h"

namespace cnnx::cuda {
namespace {

template <class T>
void add_parts(int parts, int64_t count, int64_t n, const T* sums, const T* bias, T* c) {
  for_each(count, [=] __device__(int64_t i) {
    T total = sums[i];
    for (int part = 1; part < parts; ++part) total += sums[part * count + i];
    c[i] = bias ? total + bias[i % n] : total;
  });
}

/// launch(shape, store) runs the product, in parts that are added up.
template <class T, class Launch>
void multiply(const Product& p, int parts, const T* bias, T* c, const Launch& launch) {
  const GemmShape shape{static_cast<int>(p.m), static_cast<int>(p.n), static_cast<int>(p.k), parts};
  const int64_t item = p.m * p.n, count = item * p.items;
  const bool has_quads = fits_fours(c, item, p.n) && (!bias || reinterpret_cast<uintptr_t>(bias) % 16 == 0);
  if (parts == 1) return launch(shape, MatrixStore<T>{c, item, 0, p.n, bias, has_quads});
  const Scratch sums(parts * count * static_cast<int64_t>(sizeof(T)));
  launch(shape, MatrixStore<T>{sums.as<T>(), item, count, p.n, nullptr, has_quads});
  add_parts(parts, count, p.n, sums.as<T>(), bias, c);
}

template <class Tile, class T, class LoaderA, class LoaderB>
void multiply(const Product& p, const LoaderA& a, const LoaderB& b, const T* bias, T* c) {
  multiply(p, count_parts<Tile>(p.m, p.n, p.k, p.items), bias, c,
           [&](const GemmShape& shape, const MatrixStore<T>& to) { launch_gemm<Tile>(shape, p.items, a, b, to); });
}

template <class Tile, int kWidth, class T>
void with_layout(const Product& p, const T* a, const T* b, const T* bias, T* c) {
  const int m = static_cast<int>(p.m), n = static_cast<int>(p.n), k = static_cast<int>(p.k);
  const MatrixLoader<T, true, kWidth> rows_a{a, p.step_a, p.k, m, k};
  const MatrixLoader<T, false, kWidth> columns_b{b, p.step_b, p.n, n, k};
  if (p.transpose_a) {
    multiply<Tile>(p, MatrixLoader<T, false, kWidth>{a, p.step_a, p.m, m, k}, columns_b, bias, c);
  } else if (p.transpose_b) {
    multiply<Tile>(p, rows_a, MatrixLoader<T, true, kWidth>{b, p.step_b, p.k, n, k}, bias, c);
  } else {
    multiply<Tile>(p, rows_a, columns_b, bias, c);
  }
}

template <class T>
void add_bias(const Product& p, const T* bias, T* c) {
  const WideDivisor columns(p.n);
  for_each(p.items * p.m * p.n, [=] __device__(int64_t i) { c[i] += bias[i - columns.divide(i) * columns.value]; });
}

/// Values of a matrix, one a z, as rows for pack_rows().
struct MatrixValues {
  const float* matrix;
  int64_t item_step, row_step, depth_step, depth;
  WideDivisor rows;

  __device__ float operator()(int64_t row, int64_t k) const {
    const int64_t z = rows.divide(row);
    return k < depth ? matrix[z * item_step + (row - z * rows.value) * row_step + k * depth_step] : 0;
  }
};

/// All values of an operand as they lie in memory, rounded to 16 bits. Scratch memory holds `words` words.
template <Precision kPrecision>
void round_all(const float* matrix, int64_t count, int64_t words, const Scratch& rounded) {
  pack_rows<kPrecision>(1, words, MatrixValues{matrix, 0, 0, 1, count, WideDivisor(1)}, rounded.as<uint32_t>());
}

/// tensor_product() by cuBLAS.
template <Precision kPrecision>
void rounded_product(const Product& p, const float* a, const float* b, const float* bias, float* c) {
  if constexpr (kPrecision == Precision::kTF32) {
    cublas_tensor_product(p, a, b, c);
  } else {
    const int64_t count_a = p.m * p.k + (p.items - 1) * p.step_a, count_b = p.k * p.n + (p.items - 1) * p.step_b;
    const int64_t words_a = ceil_div(count_a, 2), words_b = ceil_div(count_b, 2);
    const Scratch rounded_a(words_a * static_cast<int64_t>(sizeof(uint32_t)));
    const Scratch rounded_b(words_b * static_cast<int64_t>(sizeof(uint32_t)));
    round_all<kPrecision>(a, count_a, words_a, rounded_a);
    round_all<kPrecision>(b, count_b, words_b, rounded_b);
    cublas_tensor_product(p, rounded_a.as<void>(), rounded_b.as<void>(), c);
  }
  if (bias) add_bias(p, bias, c);
}

template <Precision kPrecision>
void packed_product(const Product& p, const float* a, const float* b, const float* bias, float* c) {
  const int64_t length = row_words<kPrecision>(p.k);
  const int64_t items_a = p.step_a == 0 ? 1 : p.items, items_b = p.step_b == 0 ? 1 : p.items;
  const Scratch words_a(items_a * p.m * length * static_cast<int64_t>(sizeof(uint32_t)));
  const Scratch words_b(items_b * p.n * length * static_cast<int64_t>(sizeof(uint32_t)));
  pack_rows<kPrecision>(
      items_a * p.m, length,
      MatrixValues{a, p.step_a, p.transpose_a ? 1 : p.k, p.transpose_a ? p.m : 1, p.k, WideDivisor(p.m)},
      words_a.as<uint32_t>());
  pack_rows<kPrecision>(
      items_b * p.n, length,
      MatrixValues{b, p.step_b, p.transpose_b ? p.k : 1, p.transpose_b ? 1 : p.n, p.k, WideDivisor(p.n)},
      words_b.as<uint32_t>());
  const PackedRows rows_a{words_a.as<uint32_t>(), p.step_a == 0 ? 0 : p.m * length, static_cast<int>(length),
                          static_cast<int>(p.m)};
  const PackedRows columns_b{words_b.as<uint32_t>(), p.step_b == 0 ? 0 : p.n * length, static_cast<int>(length),
                             static_cast<int>(p.n)};
  multiply(p, tensor_parts<kPrecision>(p.m, p.n, p.k, p.items), bias, c,
           [&](const GemmShape& shape, const MatrixStore<float>& to) {
             launch_tensor_gemm<kPrecision>(shape, p.items, rows_a, columns_b, to);
           });
}

}  // namespace

void tensor_product(const Product& p, const float* a, const float* b, const float* bias, float* c) {
  with_reduced_precision(p.precision,
                         [&](auto precision) { packed_product<decltype(precision)::value>(p, a, b, bias, c); });
}

template <class T>
void matrix_product(const Product& p, const T* a, const T* b, const T* bias, T* c) {
  if (p.transpose_a && p.transpose_b) throw CudaError("[cuda] a product of two transposed matrices has no kernel.");
  if (!is_small(std::max({p.m * p.n, p.n * p.k, p.m * p.k, p.items}))) {
    throw CudaError("[cuda] a matrix of 2^31 or more values has no product.");
  }
  if (p.items * p.m * p.n == 0) return;
  if constexpr (std::is_same_v<T, float>) {
    if (p.precision != Precision::kFull && !has_cublas()) return tensor_product(p, a, b, bias, c);
    if (p.precision != Precision::kFull) {
      return with_reduced_precision(
          p.precision, [&](auto precision) { rounded_product<decltype(precision)::value>(p, a, b, bias, c); });
    }
  }
  if (!p.nested && cublas_product(p, a, b, c)) {
    if (bias) add_bias(p, bias, c);
    return;
  }
  with_tile<T, TallTile<T>>(p.m, p.n, p.items, [&](auto tile) {
    using Tile = std::conditional_t<std::is_same_v<T, float>, Nested<decltype(tile)>, decltype(tile)>;
    if constexpr (sizeof(T) == sizeof(float)) {
      const bool wide =
          fits_fours(a, p.step_a, p.transpose_a ? p.m : p.k) && fits_fours(b, p.step_b, p.transpose_b ? p.k : p.n);
      if (wide) return with_layout<Tile, 4>(p, a, b, bias, c);
    }
    with_layout<Tile, 1>(p, a, b, bias, c);
  });
}

template void matrix_product(const Product&, const float*, const float*, const float*, float*);
template void matrix_product(const Product&, const double*, const double*, const double*, double*);

}  // namespace cnnx::cuda
