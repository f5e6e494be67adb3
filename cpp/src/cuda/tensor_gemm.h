// The tiled product on tensor cores: the walk of gemm.h with factors in words, as mma.h has them, and sums in float32.
//
// Shared memory holds a step's words side by side for each row of A and column of B, with room behind them that keeps
// rows apart in the banks. A thread brings chunks of four words, 4 or 8 neighbours in k:
//
//   loader.fetch<count>(z, lane, depth, values)  gathers the values, which wait in registers to be rounded; or
//   loader.address(z, lane, word), if kPacked     names words in memory that are rounded already: they are copied past
//                                                 the registers. Rows of such words are whole steps, zeros at the end.
#pragma once

#include "cuda/gemm.h"
#include "cuda/mma.h"

namespace cnnx::cuda {

template <class Tile, class LoaderA, class LoaderB, class Store>
__global__ void tensor_gemm_kernel(GemmShape shape, LoaderA loader_a, LoaderB loader_b, Store store);

/// kTileM x kTileN of C a block, kWarpM x kWarpN of that a warp.
template <Precision kPrecision_, int kTileM_, int kTileN_, int kWarpM_, int kWarpN_>
struct TensorTile {
  static constexpr Precision kPrecision = kPrecision_;
  static constexpr int kTileM = kTileM_, kTileN = kTileN_, kWarpM = kWarpM_, kWarpN = kWarpN_;
  static constexpr int kWarpsN = kTileN / kWarpN;
  static constexpr int kThreads = 32 * (kTileM / kWarpM) * kWarpsN;
  static constexpr int kWords = 16;  // of a step
  static constexpr int kStep = kWords * kPack<kPrecision>;
  static constexpr int kPitch = kWords + 4;
  static constexpr int kChunk = 4 * kPack<kPrecision>;  // values
  static constexpr int kShared = 0;
  /// Where a word lies in an operand's shared memory.
  __device__ static int place(int lane, int word) { return lane * kPitch + word; }
  static_assert(kWarpM % 16 == 0 && kWarpN % 16 == 0);
  template <class LoaderA, class LoaderB, class Store>
  static auto kernel() {
    return tensor_gemm_kernel<TensorTile, LoaderA, LoaderB, Store>;
  }
};

/// Calls fn(tile) with the tile that fits.
template <Precision kPrecision, class F>
void with_tensor_tile(int64_t m, int64_t n, int64_t items, F&& fn) {
  with_tile_of<TensorTile<kPrecision, 32, 128, 32, 32>, TensorTile<kPrecision, 64, 64, 32, 32>,
               TensorTile<kPrecision, 128, 128, 64, 32>>(m, n, items, std::forward<F>(fn));
}

/// Which chunks of an operand a thread brings: neighbouring threads those that are neighbours in memory.
template <class Tile, bool kAlongDepth, int kLanes>
struct Chunks {
  static constexpr int kAll = Tile::kWords / 4;  // of a lane
  static constexpr int kCount = kLanes * kAll / Tile::kThreads;
  static constexpr int kStride = Tile::kThreads / (kAlongDepth ? kAll : kLanes);  // from one to the next
  static_assert(kCount * Tile::kThreads == kLanes * kAll);
  int thread;

  __device__ int lane(int i) const { return kAlongDepth ? thread / kAll + i * kStride : thread % kLanes; }
  __device__ int word(int i) const { return 4 * (kAlongDepth ? thread % kAll : thread / kLanes + i * kStride); }
};

template <class Tile, class Loader, int kLanes>
struct GatheredOperand {
  using Threads = Chunks<Tile, Loader::kAlongDepth, kLanes>;
  static constexpr int kCount = Threads::kCount, kHeld = Loader::kAlongDepth ? kCount : 1, kChunk = Tile::kChunk;
  static constexpr int kOfWord = kPack<Tile::kPrecision>;

  const Loader& loader;
  Threads chunks;
  int z;
  typename Loader::Lane lanes[kHeld];
  float values[kCount][kChunk];

  __device__ GatheredOperand(const Loader& from, int item, int first_lane, int thread)
      : loader(from), chunks{thread}, z(item) {
#pragma unroll
    for (int i = 0; i < kHeld; ++i) lanes[i] = loader.lane(z, first_lane + chunks.lane(i));
  }
  __device__ void start(int step, uint32_t*) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const auto depth = loader.depth(z, step * Tile::kStep + chunks.word(i) * kOfWord);
      loader.template fetch<kChunk>(z, lanes[Loader::kAlongDepth ? i : 0], depth, values[i]);
    }
  }
  __device__ void finish(uint32_t* shared) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      uint32_t words[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) words[j] = pack_word<Tile::kPrecision>(values[i] + j * kOfWord);
      put_four(shared + Tile::place(chunks.lane(i), chunks.word(i)), words);
    }
  }
};

template <class Tile, class Loader, int kLanes>
struct PackedOperand {
  Loader loader;
  Chunks<Tile, true, kLanes> chunks;
  int z, first_lane;

  __device__ PackedOperand(const Loader& from, int item, int first, int thread)
      : loader(from), chunks{thread}, z(item), first_lane(first) {}
  __device__ void start(int step, uint32_t* shared) const {
#pragma unroll
    for (int i = 0; i < chunks.kCount; ++i) {
      const int lane = chunks.lane(i), from = first_lane + lane;
      const bool inside = from < loader.lanes;
      const uint32_t* const words = loader.address(z, inside ? from : 0, step * Tile::kWords + chunks.word(i));
      copy_four(shared + Tile::place(lane, chunks.word(i)), words, inside);
    }
  }
  __device__ void finish(uint32_t*) const { wait_for_copies(); }
};

template <class Tile, class Loader, int kLanes>
using Operand =
    std::conditional_t<Loader::kPacked, PackedOperand<Tile, Loader, kLanes>, GatheredOperand<Tile, Loader, kLanes>>;

/// A warp's sums of one step.
template <class Tile, int kCountM, int kCountN>
__device__ void multiply_step(const uint32_t (*a)[Tile::kPitch], const uint32_t (*b)[Tile::kPitch], int lane,
                              float (&sums)[kCountM][kCountN][4]) {
#pragma unroll
  for (int word = 0; word < Tile::kWords; word += 8) {
    uint32_t rows[kCountM][4], columns[kCountN / 2][4];
#pragma unroll
    for (int i = 0; i < kCountM; ++i) load_tiles(&a[i * 16 + lane % 16][word + lane / 16 * 4], rows[i]);
#pragma unroll
    for (int j = 0; j < kCountN / 2; ++j) {
      load_tiles(&b[j * 16 + lane / 16 * 8 + lane % 8][word + lane / 8 % 2 * 4], columns[j]);
    }
#pragma unroll
    for (int i = 0; i < kCountM; ++i) {
#pragma unroll
      for (int j = 0; j < kCountN; ++j) {
        const auto& column = columns[j / 2];
        multiply_add<Tile::kPrecision>(sums[i][j], rows[i], column[j % 2 * 2], column[j % 2 * 2 + 1]);
      }
    }
  }
}

/// Writes the four sums that a lane has of 16 x 8 places from (m, n) on. Two lanes swap two each where there are stores
/// of four neighbours.
template <class Store>
__device__ void write_sums(const GemmShape& shape, const Store& store, int z, int part, int m, int n, int lane,
                           const float (&sums)[4]) {
  const int row = m + lane / 4;
  if (store.has_quads) {  // n counts to a multiple of four then
    const bool odd = lane % 2 != 0;
    const float got0 = __shfl_xor_sync(0xffffffffu, odd ? sums[0] : sums[2], 1);
    const float got1 = __shfl_xor_sync(0xffffffffu, odd ? sums[1] : sums[3], 1);
    const int to = row + (odd ? 8 : 0), column = n + lane % 4 / 2 * 4;
    const Quad<float> four =
        odd ? Quad<float>{{got0, got1, sums[2], sums[3]}} : Quad<float>{{sums[0], sums[1], got0, got1}};
    if (to < shape.m && column < shape.n) store.write4(store.column(z, part, column), to, four);
    return;
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const int column = n + lane % 4 * 2 + j;
    if (column >= shape.n) continue;
    const auto place = store.column(z, part, column);
    if (row < shape.m) store.write(place, row, sums[j]);
    if (row + 8 < shape.m) store.write(place, row + 8, sums[2 + j]);
  }
}

template <class Tile, class LoaderA, class LoaderB, class Store>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kThreads == 128 ? 3
                                                  : LoaderA::kPacked    ? 2
                                                                        : 1)
    tensor_gemm_kernel(GemmShape shape, LoaderA loader_a, LoaderB loader_b, Store store) {
  constexpr int kCountM = Tile::kWarpM / 16, kCountN = Tile::kWarpN / 8;
  alignas(16) __shared__ uint32_t shared_a[2][Tile::kTileM][Tile::kPitch];
  alignas(16) __shared__ uint32_t shared_b[2][Tile::kTileN][Tile::kPitch];

  const auto [z, part, first_m, first_n, first_step, last_step] = BlockShare<Tile>(shape);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int warp_m = warp / Tile::kWarpsN * Tile::kWarpM, warp_n = warp % Tile::kWarpsN * Tile::kWarpN;

  Operand<Tile, LoaderA, Tile::kTileM> a(loader_a, z, first_m, thread);
  Operand<Tile, LoaderB, Tile::kTileN> b(loader_b, z, first_n, thread);
  float sums[kCountM][kCountN][4] = {};
  for (int step = first_step - 1, now = 1; step < last_step; ++step, now ^= 1) {
    const bool more = step + 1 < last_step;
    if (more) {
      a.start(step + 1, shared_a[now ^ 1][0]);
      b.start(step + 1, shared_b[now ^ 1][0]);
    }
    if (step >= first_step) multiply_step<Tile>(shared_a[now] + warp_m, shared_b[now] + warp_n, lane, sums);
    if (more) {
      a.finish(shared_a[now ^ 1][0]);
      b.finish(shared_b[now ^ 1][0]);
      __syncthreads();
    }
  }

#pragma unroll
  for (int i = 0; i < kCountM; ++i) {
#pragma unroll
    for (int j = 0; j < kCountN; ++j) {
      write_sums(shape, store, z, part, first_m + warp_m + i * 16, first_n + warp_n + j * 8, lane, sums[i][j]);
    }
  }
}

// ---- Words in memory

/// Rows of words, the lanes of one z after another.
struct PackedRows {
  static constexpr bool kPacked = true;
  const uint32_t* words;
  int64_t item_step;  // 0 repeats
  int row_words;      // whole steps
  int lanes;

  __device__ const uint32_t* address(int z, int lane, int word) const {
    return words + z * item_step + int64_t{lane} * row_words + word;
  }
};

/// Words of a row of `depth` values: whole steps of any tile, hopper_gemm.h's too.
template <Precision kPrecision>
int64_t row_words(int64_t depth) {
  return round_up(ceil_div(depth, int64_t{kPack<kPrecision>}), 32);
}

/// words[row][...] = values(row, 0), values(row, 1) ...
template <Precision kPrecision, class Values>
void pack_rows(int64_t rows, int64_t row_words, const Values& values, uint32_t* words) {
  const WideDivisor length(std::max<int64_t>(1, row_words));
  for_each(rows * row_words, [=] __device__(int64_t i) {
    const int64_t row = length.divide(i), k = (i - row * length.value) * kPack<kPrecision>;
    float pair[2] = {values(row, k), 0};
    if constexpr (kPack<kPrecision> == 2) pair[1] = values(row, k + 1);
    words[i] = pack_word<kPrecision>(pair);
  });
}

}  // namespace cnnx::cuda
