// The instructions of tensor cores, as functions of a warp: the only ones that C++ has no words for.
//
// tests/cuda_host/cuda/mma.h has the same functions for the host; its folder is searched first there. Factors come in
// words of 32 bits: one number of TF32, or two neighbours in k of 16 bits, the first in the lower half. Fragments of
// all three are alike then: a tile is 16 x 8 words of A, 8 x 8 words of B and 16 x 8 sums.
#pragma once

#include <cstdint>

#include "cnnx/precision.h"

namespace cnnx::cuda {

/// Values of a word.
template <Precision kPrecision>
inline constexpr int kPack = kPrecision == Precision::kTF32 ? 1 : 2;

/// kPack values, rounded: to the nearest, ties away from zero in TF32 and to even in 16 bits.
template <Precision kPrecision>
__device__ uint32_t pack_word(const float* values) {
  uint32_t word;
  if constexpr (kPrecision == Precision::kTF32) {
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(values[0]));
  } else if constexpr (kPrecision == Precision::kBFloat16) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(values[1]), "f"(values[0]));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(values[1]), "f"(values[0]));
  }
  return word;
}

/// The first value of a word.
template <Precision kPrecision>
__device__ float first_value(uint32_t word) {
  if constexpr (kPrecision == Precision::kTF32) return __uint_as_float(word);
  if constexpr (kPrecision == Precision::kBFloat16) return __uint_as_float(word << 16);
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(static_cast<uint16_t>(word)));
  return value;
}

/// Four tiles of 8 rows of 4 words in shared memory. Lane i names row i % 8 of tile i / 8, on a multiple of 16 bytes,
/// and gets word i % 4 of row i / 4 of each.
__device__ inline void load_tiles(const uint32_t* row, uint32_t (&words)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
}

/// sums += A B. Lane i has words i % 4 and i % 4 + 4 of rows i / 4 and i / 4 + 8 of A (both rows first) and of column
/// i / 4 of B, and the sums of these rows in columns i % 4 * 2 and the next.
template <Precision kPrecision>
__device__ void multiply_add(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (kPrecision == Precision::kTF32) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else if constexpr (kPrecision == Precision::kBFloat16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

/// Writes four words to shared memory.
__device__ inline void put_four(uint32_t* shared, const uint32_t (&words)[4]) {
  *reinterpret_cast<uint4*>(shared) = make_uint4(words[0], words[1], words[2], words[3]);
}
/// Starts a copy of four words to shared memory, past the registers; zeros arrive unless `inside`.
__device__ inline void copy_four(uint32_t* shared, const uint32_t* global, bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(shared))), "l"(global), "r"(inside ? 16 : 0)
               : "memory");
}
/// Waits for the copies that the calling thread has started.
__device__ inline void wait_for_copies() { asm volatile("cp.async.wait_all;" : : : "memory"); }

}  // namespace cnnx::cuda
