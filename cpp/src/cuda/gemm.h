// The tiled product under matrix products and convolutions: C(m, n) = sum over k of A(m, k) B(k, n).
//
// A block computes a tile of C. It walks along k in steps; the next step's parts of A and B are on their way from
// global memory to registers while the present ones are multiplied out of shared memory, which has two buffers, so that
// one barrier a step is enough. Where values come from and where they go, loaders and stores say:
//
//   loader.lane(z, m or n) and loader.depth(z, k)  two halves of an address, each worked out once for many values;
//   loader.fetch(z, lane, depth, values)  kWidth neighbours, zeros outside the matrix; kAlongDepth: neighbours in k;
//   store.column(z, n), store.write(column, m, value); store.write4() for four neighbours in n, if store.has_quads.
//
// z is the group or batch item. With several parts, a block adds up one run of steps, and its store keeps parts apart.
#pragma once

#include <type_traits>

#include "cuda/launch.h"

namespace cnnx::cuda {

template <class T>
struct alignas(16) Quad {
  T v[4];
};

struct GemmShape;
template <class Tile, class LoaderA, class LoaderB, class Store>
__global__ void gemm_kernel(GemmShape shape, LoaderA loader_a, LoaderB loader_b, Store store);

/// kTileM x kTileN of C a block, kItemM x kItemN of that a thread, kStep of k at a time.
template <class T_, int kTileM_, int kTileN_, int kStep_, int kItemM_, int kItemN_>
struct GemmTile {
  using T = T_;
  static constexpr int kTileM = kTileM_, kTileN = kTileN_, kStep = kStep_, kItemM = kItemM_, kItemN = kItemN_;
  static constexpr int kThreads = kTileM / kItemM * (kTileN / kItemN);
  static constexpr int kColumns = kTileN / kItemN;  // threads side by side
  static constexpr int kStepsOfSum = 0;             // none: one sum
  static constexpr int kShared = 0;                 // bytes beside those that the kernel declares
  template <class LoaderA, class LoaderB, class Store>
  static auto kernel() {
    return gemm_kernel<GemmTile, LoaderA, LoaderB, Store>;
  }
};

/// The same with sums over 32 products that are added up, which rounds far less where there are hundreds. The largest
/// tile has no registers left for two sums.
template <class Tile>
struct Nested : Tile {
  static constexpr int kStepsOfSum = 32 / Tile::kStep;
  template <class LoaderA, class LoaderB, class Store>
  static auto kernel() {
    return gemm_kernel<Nested, LoaderA, LoaderB, Store>;
  }
};

struct GemmShape {
  int m = 0, n = 0, depth = 0;
  int parts = 1;    // runs of steps that different blocks add up
  int first_z = 0;  // of this launch
  int tiles_n = 1;  // side by side; blockIdx.x counts all tiles, as y and z are short
};

/// A block's part of a product.
template <class Tile>
struct BlockShare {
  int z, part, first_m, first_n, first_step, last_step;

  __device__ explicit BlockShare(const GemmShape& shape)
      : z(shape.first_z + static_cast<int>(blockIdx.z) / shape.parts),
        part(static_cast<int>(blockIdx.z) % shape.parts) {
    const int tile_m = static_cast<int>(blockIdx.x) / shape.tiles_n;
    first_m = tile_m * Tile::kTileM;
    first_n = (static_cast<int>(blockIdx.x) - tile_m * shape.tiles_n) * Tile::kTileN;
    const int all_steps = (shape.depth + Tile::kStep - 1) / Tile::kStep;
    const int run = (all_steps + shape.parts - 1) / shape.parts;
    first_step = part * run;
    last_step = std::min(all_steps, first_step + run);
  }
};

/// One operand's way through registers to shared memory.
template <class Tile, class Loader, int kLanes>
struct OperandTile {
  using T = typename Tile::T;
  static constexpr int kWidth = Loader::kWidth;
  static constexpr int kFetches = kLanes * Tile::kStep / kWidth;  // of a step
  static constexpr int kCount = kFetches < Tile::kThreads ? 1 : kFetches / Tile::kThreads;
  static constexpr int kGroups = (Loader::kAlongDepth ? Tile::kStep : kLanes) / kWidth;
  static constexpr int kRows = Tile::kThreads / kGroups;  // apart in the other direction
  static constexpr int kPitch = kLanes + 4;               // of a row of shared memory
  static_assert(kFetches <= Tile::kThreads ? Tile::kThreads % kFetches == 0 : kFetches % Tile::kThreads == 0);
  static_assert(Tile::kThreads % kGroups == 0);
  static constexpr int kHeld = Loader::kAlongDepth ? kCount : 1;

  const Loader& loader;
  typename Loader::Lane lanes[kHeld];
  T values[kCount][kWidth];
  int group, row, z;
  bool takes_part;  // a small tile has nothing for some threads

  __device__ OperandTile(const Loader& from, int item, int first_lane, int thread)
      : loader(from),
        group(thread % kGroups * kWidth),
        row(thread / kGroups),
        z(item),
        takes_part(kFetches >= Tile::kThreads || thread < kFetches) {
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      lanes[i] = loader.lane(z, first_lane + (Loader::kAlongDepth ? row + i * kRows : group));
    }
  }

  __device__ void fetch(int k) {
    if (!takes_part) return;
    if constexpr (Loader::kAlongDepth) {
      const auto depth = loader.depth(z, k + group);
#pragma unroll
      for (int i = 0; i < kCount; ++i) loader.fetch(z, lanes[i], depth, values[i]);
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) loader.fetch(z, lanes[0], loader.depth(z, k + row + i * kRows), values[i]);
    }
  }

  /// To shared[k][lane].
  __device__ void put(T (*shared)[kPitch]) const {
    if (!takes_part) return;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if constexpr (Loader::kAlongDepth) {
#pragma unroll
        for (int j = 0; j < kWidth; ++j) shared[group + j][row + i * kRows] = values[i][j];
      } else if constexpr (kWidth == 4) {
        *reinterpret_cast<Quad<T>*>(&shared[row + i * kRows][group]) =
            Quad<T>{{values[i][0], values[i][1], values[i][2], values[i][3]}};
      } else {
        shared[row + i * kRows][group] = values[i][0];
      }
    }
  }
};

/// kItem values in runs of four, the runs kSpan apart: neighbouring threads read neighbouring fours.
template <int kItem, class T>
__device__ void read_items(const T* row, int span, T* items) {
#pragma unroll
  for (int i = 0; i < kItem; i += 4) {
    const Quad<T> four = *reinterpret_cast<const Quad<T>*>(row + i / 4 * span);
#pragma unroll
    for (int j = 0; j < 4; ++j) items[i + j] = four.v[j];
  }
}

/// totals += sums, which begin anew.
template <int kItemM, int kItemN, class T>
__device__ void add_up(T (&sums)[kItemM][kItemN], T (&totals)[kItemM][kItemN]) {
#pragma unroll
  for (int i = 0; i < kItemM; ++i) {
#pragma unroll
    for (int j = 0; j < kItemN; ++j) {
      totals[i][j] += sums[i][j];
      sums[i][j] = T(0);
    }
  }
}

template <class Tile, class LoaderA, class LoaderB, class Store>
__global__ void __launch_bounds__(Tile::kThreads, 2)  // two blocks a multiprocessor, so 128 registers
    gemm_kernel(GemmShape shape, LoaderA loader_a, LoaderB loader_b, Store store) {
  using T = typename Tile::T;
  using OperandA = OperandTile<Tile, LoaderA, Tile::kTileM>;
  using OperandB = OperandTile<Tile, LoaderB, Tile::kTileN>;
  constexpr int kItemM = Tile::kItemM, kItemN = Tile::kItemN, kStep = Tile::kStep;
  alignas(16) __shared__ T shared_a[2][kStep][OperandA::kPitch];
  alignas(16) __shared__ T shared_b[2][kStep][OperandB::kPitch];

  const auto [z, part, first_m, first_n, first_step, last_step] = BlockShare<Tile>(shape);
  const int thread = static_cast<int>(threadIdx.x);
  constexpr int kSpanM = Tile::kTileM / (kItemM / 4), kSpanN = Tile::kTileN / (kItemN / 4);
  const int item_m = thread / Tile::kColumns * 4, item_n = thread % Tile::kColumns * 4;

  OperandA a(loader_a, z, first_m, thread);
  OperandB b(loader_b, z, first_n, thread);
  T sums[kItemM][kItemN] = {};
  [[maybe_unused]] T totals[kItemM][kItemN] = {};
  if (first_step < last_step) {
    a.fetch(first_step * kStep);
    b.fetch(first_step * kStep);
    a.put(shared_a[0]);
    b.put(shared_b[0]);
    __syncthreads();
    int now = 0;
    for (int step = first_step; step < last_step; ++step, now ^= 1) {
      const bool more = step + 1 < last_step;
      if (more) {
        a.fetch((step + 1) * kStep);
        b.fetch((step + 1) * kStep);
      }
#pragma unroll
      for (int k = 0; k < kStep; ++k) {
        T row[kItemM], column[kItemN];
        read_items<kItemM>(&shared_a[now][k][item_m], kSpanM, row);
        read_items<kItemN>(&shared_b[now][k][item_n], kSpanN, column);
#pragma unroll
        for (int i = 0; i < kItemM; ++i) {
#pragma unroll
          for (int j = 0; j < kItemN; ++j) sums[i][j] += row[i] * column[j];
        }
      }
      if constexpr (Tile::kStepsOfSum > 0) {
        if ((step - first_step) % Tile::kStepsOfSum == Tile::kStepsOfSum - 1) add_up(sums, totals);
      }
      if (more) {
        a.put(shared_a[now ^ 1]);
        b.put(shared_b[now ^ 1]);
        __syncthreads();
      }
    }
  }
  if constexpr (Tile::kStepsOfSum > 0) add_up(totals, sums);

#pragma unroll
  for (int j = 0; j < kItemN; j += 4) {
    const int n = first_n + j / 4 * kSpanN + item_n;
    if (n >= shape.n) continue;
    if (store.has_quads) {  // n counts to a multiple of four then
      const auto place = store.column(z, part, n);
#pragma unroll
      for (int i = 0; i < kItemM; ++i) {
        const int m = first_m + i / 4 * kSpanM + item_m + i % 4;
        if (m < shape.m) store.write4(place, m, Quad<T>{{sums[i][j], sums[i][j + 1], sums[i][j + 2], sums[i][j + 3]}});
      }
      continue;
    }
#pragma unroll
    for (int l = 0; l < 4; ++l) {
      if (n + l >= shape.n) continue;
      const auto place = store.column(z, part, n + l);
#pragma unroll
      for (int i = 0; i < kItemM; ++i) {
        const int m = first_m + i / 4 * kSpanM + item_m + i % 4;
        if (m < shape.m) store.write(place, m, sums[i][j + l]);
      }
    }
  }
}

template <class Tile, class LoaderA, class LoaderB, class Store>
void launch_gemm(GemmShape shape, int64_t items, const LoaderA& a, const LoaderB& b, const Store& store) {
  constexpr int64_t kMostZ = 65535;
  const int64_t tiles_n = ceil_div(shape.n, Tile::kTileN), tiles = tiles_n * ceil_div(shape.m, Tile::kTileM);
  shape.tiles_n = static_cast<int>(tiles_n);
  for (int64_t first = 0; first < items; first += kMostZ / shape.parts) {
    const int64_t count = std::min(items - first, kMostZ / shape.parts);
    shape.first_z = static_cast<int>(first);
    const dim3 grid(static_cast<unsigned>(tiles), 1, static_cast<unsigned>(count * shape.parts));
    launch(Tile::template kernel<LoaderA, LoaderB, Store>(), grid, dim3(Tile::kThreads), Tile::kShared, shape, a, b,
           store);
  }
}

template <class T>
using LargeTile = GemmTile<T, 128, 128, 8, 8, 8>;
template <class T>
using TallTile = GemmTile<T, 128, 64, 16, 8, 4>;
template <class T>
using MiddleTile = GemmTile<T, 64, 64, 16, 4, 4>;
template <class T>
using FlatTile = GemmTile<T, 32, 128, 8, 4, 4>;

/// Calls fn(tile) with the tile that fits: the largest that fills the GPU, a flat one for few rows.
template <class Flat, class Middle, class Large, class F>
void with_tile_of(int64_t m, int64_t n, int64_t items, F&& fn) {
  const int64_t enough = int64_t{2} * multiprocessors();
  if (m <= 32) return fn(Flat());
  if (m > 64 && ceil_div(m, Large::kTileM) * ceil_div(n, Large::kTileN) * items >= enough) return fn(Large());
  fn(Middle());
}
/// float64 has the middle one alone: its units are few, and the library stays small.
template <class T, class Large = LargeTile<T>, class F>
void with_tile(int64_t m, int64_t n, int64_t items, F&& fn) {
  if constexpr (std::is_same_v<T, float>) {
    with_tile_of<FlatTile<T>, MiddleTile<T>, Large>(m, n, items, std::forward<F>(fn));
  } else {
    fn(MiddleTile<T>());
  }
}

/// In how many parts the sum over k is cut where C alone has too few tiles to fill the GPU: runs of 16 steps or more.
template <class Tile>
int count_parts(int64_t m, int64_t n, int64_t depth, int64_t items) {
  const int64_t tiles = std::max<int64_t>(1, ceil_div(m, Tile::kTileM) * ceil_div(n, Tile::kTileN) * items);
  const int64_t wanted = 4 * int64_t{multiprocessors()} / tiles, most = ceil_div(depth, 16 * Tile::kStep);
  return static_cast<int>(std::clamp<int64_t>(std::min(wanted, most), 1, 256));
}

/// A matrix of fewer than 2^31 values in memory, one a z: value(lane, k) at lane * lane_step + k * depth_step. One of
/// the steps is 1: that of k if kAlongDepth. With kWidth 4 the length in that direction and all starts are multiples
/// of 4.
template <class T, bool kAlongDepth_, int kWidth_>
struct MatrixLoader {
  static constexpr bool kAlongDepth = kAlongDepth_;
  static constexpr int kWidth = kWidth_;
  const T* matrix;
  int64_t item_step;
  int64_t step;  // in the other direction
  int lanes, depths;

  using Lane = uint32_t;  // its offset: few registers, as a thread holds several
  static constexpr uint32_t kOutside = 0xffffffffu;
  struct Depth {
    uint32_t offset;
    bool inside;
  };
  __device__ Lane lane(int, int lane) const {
    return lane < lanes ? static_cast<uint32_t>(kAlongDepth ? lane * step : lane) : kOutside;
  }
  __device__ Depth depth(int, int k) const { return {static_cast<uint32_t>(kAlongDepth ? k : k * step), k < depths}; }
  __device__ void fetch(int z, const Lane& lane, const Depth& depth, T* values) const {
    const bool inside = lane != kOutside && depth.inside;
    const T* const from = matrix + z * item_step + (lane + depth.offset);
    if constexpr (kWidth == 4) {
      const Quad<T> four = inside ? *reinterpret_cast<const Quad<T>*>(from) : Quad<T>{};
#pragma unroll
      for (int i = 0; i < 4; ++i) values[i] = four.v[i];
    } else {
      values[0] = inside ? *from : T(0);
    }
  }
};

/// Whether rows of `columns` values and items that lie `item_step` apart can be read in fours.
template <class T>
bool fits_fours(const T* matrix, int64_t item_step, int64_t columns) {
  return columns % 4 == 0 && item_step % 4 == 0 && reinterpret_cast<uintptr_t>(matrix) % 16 == 0;
}

/// A matrix (m, n) in memory, one a z; with several parts, as many of all of them.
template <class T>
struct MatrixStore {
  T* matrix;
  int64_t item_step;
  int64_t part_step;
  int64_t columns;
  const T* bias;  // (n), or null
  bool has_quads;

  struct Column {
    T* start;
    int n;
  };
  __device__ Column column(int z, int part, int n) const { return {matrix + z * item_step + part * part_step + n, n}; }
  __device__ void write(const Column& column, int m, T value) const {
    column.start[m * columns] = bias ? value + bias[column.n] : value;
  }
  __device__ void write4(const Column& column, int m, Quad<T> values) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) values.v[i] += bias ? bias[column.n + i] : T(0);
    *reinterpret_cast<Quad<T>*>(column.start + m * columns) = values;
  }
};

}  // namespace cnnx::cuda
