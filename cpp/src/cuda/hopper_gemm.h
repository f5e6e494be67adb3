// The product of tensor_gemm.h by wgmma.h's instructions, with its loaders and stores, for hopper.cu alone.
//
// Shared memory has rows of 128 bytes, a step's words of one row of A or column of B, in three stages. While products
// read one or two of them, beside the threads, the threads fill the next. A stage is filled again when all warpgroups
// are past the barrier before which they waited for the products that read it:
//
//   barrier | start products of step s, fill s + 1 (read last by s - 2), wait for s - 1 | barrier | ...
//
// Tiles are not brought by the tensor memory accelerator: it copies boxes of a regular array, while rows here are
// rounded on their way, and patches of images begin and end anywhere, with channels that are not neighbours in memory.
// What could be copied so, filters and matrices in words, is the small part of a convolution, and cp.async brings it.
#pragma once

#include "cuda/hopper.h"
#include "cuda/wgmma.h"

namespace cnnx::cuda {

/// A descriptor of rows of 128 bytes from `address` in shared memory on. Units are 16 bytes.
constexpr uint64_t swizzled_rows(uint32_t address) {
  constexpr uint64_t kSwizzle128 = 1, kEightRows = 1024 / 16, kUnused = 1;
  return uint64_t{address & 0x3ffff} >> 4 | kUnused << 16 | kEightRows << 32 | kSwizzle128 << 62;
}

template <class Tile, class LoaderA, class LoaderB, class Store>
__global__ void hopper_gemm_kernel(GemmShape shape, LoaderA loader_a, LoaderB loader_b, Store store);

/// 64 x 128 of C a warpgroup, which lie below each other.
template <Precision kPrecision_, int kWarpgroups>
struct HopperTile {
  static constexpr Precision kPrecision = kPrecision_;
  static constexpr int kTileM = 64 * kWarpgroups, kTileN = kProductColumns, kThreads = 128 * kWarpgroups;
  static constexpr int kWords = 32;  // of a step
  static constexpr int kStep = kWords * kPack<kPrecision>;
  static constexpr int kChunk = 4 * kPack<kPrecision>;  // values
  static constexpr int kStages = 3;
  static constexpr int kStageWords = (kTileM + kTileN) * kWords;
  static constexpr int kBlocks = 4 - kWarpgroups;  // of a multiprocessor, if its registers are enough for that
  static constexpr int kAlign = 1024;              // bytes: eight rows, after which the swizzle repeats
  static constexpr int kShared = kStages * kStageWords * 4 + kAlign;

  /// A row's chunks of 16 bytes change places, so that chunks one below the other are in different banks.
  __device__ static int place(int lane, int word) { return lane * kWords + ((word ^ lane % 8 * 4) & (kWords - 1)); }

  template <class LoaderA, class LoaderB, class Store>
  static auto kernel() {
    const auto found = hopper_gemm_kernel<HopperTile, LoaderA, LoaderB, Store>;
    check_cuda(cudaFuncSetAttribute(found, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared),
               "cudaFuncSetAttribute");
    return found;
  }
};

template <class Tile, class LoaderA, class LoaderB, class Store>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks - (LoaderA::kPacked ? 0 : 1))
    hopper_gemm_kernel(GemmShape shape, LoaderA loader_a, LoaderB loader_b, Store store) {
  constexpr int kWordsA = Tile::kTileM * Tile::kWords, kWarpgroupWords = 64 * Tile::kWords;
  const uint32_t start = shared_address(dynamic_shared());
  uint32_t* const stages = dynamic_shared() + (0u - start) % Tile::kAlign / 4;

  const auto [z, part, first_m, first_n, first_step, last_step] = BlockShare<Tile>(shape);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;

  Operand<Tile, LoaderA, Tile::kTileM> a(loader_a, z, first_m, thread);
  Operand<Tile, LoaderB, Tile::kTileN> b(loader_b, z, first_n, thread);
  const auto fill = [&](int step, int stage) {
    uint32_t* const shared_a = stages + stage * Tile::kStageWords;
    a.start(step, shared_a);
    b.start(step, shared_a + kWordsA);
    a.finish(shared_a);
    b.finish(shared_a + kWordsA);
  };

  ProductSums sums = {};
  if (first_step < last_step) fill(first_step, 0);
  for (int step = first_step, stage = 0; step < last_step; ++step) {
    publish_writes();
    __syncthreads();
    order_sums(sums);
    const uint32_t* const shared_a = stages + stage * Tile::kStageWords;
    const uint64_t rows = swizzled_rows(shared_address(shared_a + warp / 4 * kWarpgroupWords));
    const uint64_t columns = swizzled_rows(shared_address(shared_a + kWordsA));
#pragma unroll
    for (int chunk = 0; chunk < Tile::kWords / 4; chunk += 2) {
      multiply_async<Tile::kPrecision>(sums, rows + chunk, columns + chunk);
    }
    commit_products();
    stage = stage + 1 == Tile::kStages ? 0 : stage + 1;
    if (step + 1 < last_step) fill(step + 1, stage);
    wait_for_products<1>();
  }
  finish_products(sums);

#pragma unroll
  for (int j = 0; j < Tile::kTileN / 8; ++j) {
    write_sums(shape, store, z, part, first_m + warp * 16, first_n + j * 8, lane, sums[j]);
  }
}

}  // namespace cnnx::cuda
