// The instructions of Hopper's tensor cores (compute capability 9.0 alone), as functions of a warpgroup: four warps,
// the first of them a multiple of four.
//
// tests/cuda_host/cuda/wgmma.h has the same functions for the host. A product is started, and reads its factors from
// shared memory until it was waited for, beside the threads and past the view of memory that they share:
//
//   publish_writes()       by every thread that wrote factors, before the barrier that tells the others;
//   order_sums(sums)       before the first product, as the sums' registers were written by the threads;
//   multiply_async() ...   products, which follow each other in order;
//   commit_products()      makes a group of them;
//   wait_for_products<n>() waits until n groups are left, finish_products(sums) for all: only then sums may be read.
#pragma once

#include "cuda/mma.h"

namespace cnnx::cuda {

/// Columns of a product: it has 64 rows and depths of 8 words.
inline constexpr int kProductColumns = 128;
/// Of a thread. Warp w has rows 16 w and up: sums[j] are of columns 8 j and up, as multiply_add() of mma.h has them.
using ProductSums = float[kProductColumns / 8][4];

/// The block's shared memory of the size that its launch says.
__device__ inline uint32_t* dynamic_shared() {
  extern __shared__ uint32_t memory[];
  return memory;
}
__device__ inline uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

__device__ inline void publish_writes() { asm volatile("fence.proxy.async.shared::cta;" : : : "memory"); }

// All registers of the sums, as operands 0 to 63.
#define CNNX_FOUR_SUMS(j) "+f"(sums[j][0]), "+f"(sums[j][1]), "+f"(sums[j][2]), "+f"(sums[j][3])
#define CNNX_SUMS                                                                                                   \
  CNNX_FOUR_SUMS(0), CNNX_FOUR_SUMS(1), CNNX_FOUR_SUMS(2), CNNX_FOUR_SUMS(3), CNNX_FOUR_SUMS(4), CNNX_FOUR_SUMS(5), \
      CNNX_FOUR_SUMS(6), CNNX_FOUR_SUMS(7), CNNX_FOUR_SUMS(8), CNNX_FOUR_SUMS(9), CNNX_FOUR_SUMS(10),               \
      CNNX_FOUR_SUMS(11), CNNX_FOUR_SUMS(12), CNNX_FOUR_SUMS(13), CNNX_FOUR_SUMS(14), CNNX_FOUR_SUMS(15)
#define CNNX_PRODUCT(shape_and_types, layouts)                                                                  \
  "{\n.reg .pred adds;\nsetp.eq.u32 adds, 0, 0;\nwgmma.mma_async.sync.aligned." shape_and_types                 \
  " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, " \
  "%23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, "   \
  "%44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "       \
  "%64, %65, adds, 1, 1" layouts ";\n}"

__device__ inline void order_sums(ProductSums& sums) {
  asm volatile("wgmma.fence.sync.aligned;" : CNNX_SUMS : : "memory");
}

/// Starts sums += A B, with descriptors of 64 rows of A and 128 columns of B, 8 words each. Lines of k are rows in
/// memory for both.
template <Precision kPrecision>
__device__ void multiply_async(ProductSums& sums, uint64_t a, uint64_t b) {
  if constexpr (kPrecision == Precision::kTF32) {
    asm volatile(CNNX_PRODUCT("m64n128k8.f32.tf32.tf32", "") : CNNX_SUMS : "l"(a), "l"(b) : "memory");
  } else if constexpr (kPrecision == Precision::kBFloat16) {
    asm volatile(CNNX_PRODUCT("m64n128k16.f32.bf16.bf16", ", 0, 0") : CNNX_SUMS : "l"(a), "l"(b) : "memory");
  } else {
    asm volatile(CNNX_PRODUCT("m64n128k16.f32.f16.f16", ", 0, 0") : CNNX_SUMS : "l"(a), "l"(b) : "memory");
  }
}

__device__ inline void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" : : : "memory"); }

template <int kLeft>
__device__ void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" : : "n"(kLeft) : "memory");
}
__device__ inline void finish_products(ProductSums& sums) {
  asm volatile("wgmma.wait_group.sync.aligned 0;" : CNNX_SUMS : : "memory");
}

#undef CNNX_PRODUCT
#undef CNNX_SUMS
#undef CNNX_FOUR_SUMS

}  // namespace cnnx::cuda
