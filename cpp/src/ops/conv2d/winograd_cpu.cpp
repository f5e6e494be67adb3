// Winograd convolution F(4x4, 3x3) of stride 1, with a quarter of direct convolution's multiplications.
//
// Tiles are numbered through rows and images. A block of input tiles becomes V[36][panel of tiles][channel][tile]; 36
// matrix products with the transformed filters U[36][panel of filters][channel][filter] give M[36][panel of
// tiles][filter][tile], whose tiles become outputs. The gradient of the input is the same with flipped, transposed
// filters; that of the weights sums products of the tiles of x and gy.
//
// Threads share as little as they can, because on many machines their caches are far apart: each takes whole blocks of
// tiles, or, where the filters are the larger part, all tiles and some filters.
#include <algorithm>

#include "kernels.h"
#include "ops/conv2d/bias.h"
#include "ops/conv2d/epilogue.h"
#include "ops/conv2d/winograd.h"
#include "ops/gemm_tile.h"
#include "ops/shuffle.h"
#include "parallel.h"
#include "rounding.h"

namespace cnnx::CNNX_ISA {
namespace {

using namespace winograd;

// ---- Tiles of planes

/// Tiles of an image's planes, numbered by image, row and column. The tile (row, col) starts at the image's
/// (4 row - pad_top, 4 col - pad_left).
struct Tiling {
  int64_t images = 0, height = 0, width = 0;  // of the planes
  int64_t pad_top = 0, pad_left = 0;
  int64_t rows = 0, cols = 0;  // of tiles
  int64_t image_step = 0;      // values from one image's plane to the next one's

  int64_t count() const { return images * rows * cols; }
};

/// Calls fn(image, row, col, length, at) for the runs of neighbouring tiles among `count` tiles from `first` on; `at`
/// counts from `first`.
template <class F>
void for_each_run(const Tiling& tiling, int64_t first, int64_t count, F&& fn) {
  for (int64_t at = 0; at < count;) {
    const int64_t tile = first + at, col = tile % tiling.cols, row = tile / tiling.cols % tiling.rows;
    const int64_t length = std::min(tiling.cols - col, count - at);
    fn(tile / tiling.cols / tiling.rows, row, col, length, at);
    at += length;
  }
}

/// Room for a panel's tiles with one value each, and for a vector to be written past them.
template <class T>
constexpr int64_t kPanelRoom = kTileCols<T> + kLanes<T>;

/// The planes of one channel: row y of an image, and how far reading is allowed.
template <class T>
struct PlaneReader {
  PlaneReader(const Tiling& tiles, const T* plane)
      : tiling(tiles),
        first(plane),
        last(plane + (tiling.images - 1) * tiling.image_step + tiling.height * tiling.width) {}

  /// to[j] = value at (image, y, x + j) for j < count, zero outside; may write a vector past that.
  void copy(int64_t image, int64_t y, int64_t x, int64_t count, T* to) const {
    if (y < 0 || y >= tiling.height) return zero(to, to + count);
    const int64_t begin = std::clamp<int64_t>(-x, 0, count), end = std::clamp(tiling.width - x, begin, count);
    const T* from = first + image * tiling.image_step + y * tiling.width + x;
    if (from >= first && from + round_up(count, kLanes<T>) <= last) {
      for (int64_t j = 0; j < count; j += kLanes<T>) store(load(from + j), to + j);
    } else {
      for (int64_t j = begin; j < end; ++j) to[j] = from[j];
    }
    zero(to, to + begin);
    zero(to + end, to + count);
  }

  T value(int64_t image, int64_t y, int64_t x) const {
    const bool inside = y >= 0 && y < tiling.height && x >= 0 && x < tiling.width;
    return inside ? first[image * tiling.image_step + y * tiling.width + x] : T(0);
  }

  const Tiling& tiling;
  const T *first, *last;

 private:
  static void zero(T* begin, T* end) {
    while (begin < end) *begin++ = T(0);
  }
};

/// values[i * size + j][t] = plane[4 row + i][4 col + j] of up to kTileCols tiles, zero outside the image.
template <class T, int kSize>
void gather_tiles(const Tiling& tiling, const T* plane, int64_t first, int64_t count, T (*values)[kPanelRoom<T>]) {
  constexpr int kStep = kOutput;
  const PlaneReader<T> reader(tiling, plane);
  T lines[kSize][kStep * kPanelRoom<T>];  // the first 4 columns of all tiles
  for_each_run(tiling, first, count, [&](int64_t image, int64_t row, int64_t col, int64_t length, int64_t at) {
    const int64_t x = col * kStep - tiling.pad_left, y = row * kStep - tiling.pad_top;
    for (int i = 0; i < kSize; ++i) reader.copy(image, y + i, x, length * kStep, lines[i] + at * kStep);
  });
  for (int i = 0; i < kSize; ++i) {
    for (int64_t t = 0; t < count; t += kLanes<T>) {
      Vector<T> parts[kStep];
      deinterleave4(lines[i] + t * kStep, parts);
      for (int j = 0; j < kStep; ++j) store(parts[j], values[i * kSize + j] + t);
    }
  }
  if constexpr (kSize > kStep) {  // the others are the next tile's first, but for the last tile of a run
    for (int i = 0; i < kSize; ++i) {
      for (int j = kStep; j < kSize; ++j) {
        const T* from = values[i * kSize + j - kStep] + 1;
        T* to = values[i * kSize + j];
        for (int64_t t = 0; t < count; t += kLanes<T>) store(load(from + t), to + t);
      }
    }
    for_each_run(tiling, first, count, [&](int64_t image, int64_t row, int64_t col, int64_t length, int64_t at) {
      const int64_t x = (col + length) * kStep - tiling.pad_left, y = row * kStep - tiling.pad_top;
      for (int i = 0; i < kSize; ++i) {
        for (int j = kStep; j < kSize; ++j) {
          values[i * kSize + j][at + length - 1] = reader.value(image, y + i, x + j - kStep);
        }
      }
    });
  }
}

/// The inverse for 4x4 outputs: plane[4 row + i][4 col + j] = epilogue of values[i * 4 + j][t], what lies outside is
/// dropped.
template <class T>
void scatter_tiles(const Tiling& tiling, const T (*values)[kPanelRoom<T>], int64_t first, int64_t count,
                   const FilterEpilogue<T>& epilogue, T* plane) {
  T line[kOutput * kPanelRoom<T>];
  for_each_run(tiling, first, count, [&](int64_t image, int64_t row, int64_t col, int64_t length, int64_t at) {
    const int64_t left = col * kOutput, width = std::min(length * kOutput, tiling.width - left);
    const int64_t height = std::min<int64_t>(kOutput, tiling.height - row * kOutput);
    int64_t to = image * tiling.image_step + row * kOutput * tiling.width + left;
    for (int64_t i = 0; i < height; ++i, to += tiling.width) {
      for (int64_t t = 0; t < length; t += kLanes<T>) {
        Vector<T> parts[kOutput];
        for (int j = 0; j < kOutput; ++j) parts[j] = load(values[i * kOutput + j] + at + t);
        interleave4(parts, line + t * kOutput);
      }
      epilogue.write(line, width, to, plane);
    }
  });
}

// ---- Forward and the gradient of the input

/// A convolution of one group: its tiles and how its weights are indexed.
struct Problem {
  int64_t channels, filters;
  int64_t filter_step, channel_step;  // of the weights
  bool is_flipped;
  Tiling in, out;

  int64_t in_plane() const { return in.height * in.width; }
  int64_t out_plane() const { return out.height * out.width; }
};

Problem forward_problem(const Conv2dGeometry& g) {
  const int64_t rows = ceil_div(g.h.output, kOutput), cols = ceil_div(g.w.output, kOutput);
  return {g.group_in(),
          g.group_out(),
          g.filter_size(),
          kFilter * kFilter,
          false,
          {g.batch, g.h.input, g.w.input, g.h.pad_before, g.w.pad_before, rows, cols, g.in_channels * g.input_plane()},
          {g.batch, g.h.output, g.w.output, 0, 0, rows, cols, g.out_channels * g.output_plane()}};
}

Problem backward_problem(const Conv2dGeometry& g) {
  const int64_t rows = ceil_div(g.h.input, kOutput), cols = ceil_div(g.w.input, kOutput);
  return {g.group_out(),
          g.group_in(),
          kFilter * kFilter,
          g.filter_size(),
          true,
          {g.batch, g.h.output, g.w.output, kFilter - 1 - g.h.pad_before, kFilter - 1 - g.w.pad_before, rows, cols,
           g.out_channels * g.output_plane()},
          {g.batch, g.h.input, g.w.input, 0, 0, rows, cols, g.in_channels * g.input_plane()}};
}

constexpr int64_t kRun = 4 * kTileRows;  // filters that are worked on together

/// Planes of the 36 products lie a cache line further apart than they need, so that they do not compete for the same
/// places of the cache.
template <class T>
int64_t plane_step(int64_t values) {
  return values + kLanes<T>;
}

/// How the work is cut. Nothing of it changes the results.
template <class T>
struct Cut {
  Cut(const Problem& p, int threads, bool prepared) : is_prepared(prepared), slots(threads) {
    constexpr int64_t kLargeFilters = 4 << 20, kAllTiles = 12 << 20, kBlock = 1 << 20;
    const int64_t tiles = p.in.count(), channel_bytes = kProducts * p.channels * static_cast<int64_t>(sizeof(T));
    const bool large_filters = channel_bytes * p.filters > kLargeFilters,
               few_tiles = tiles <= (threads - 1) * kLanes<T>;
    by_filters = (large_filters || few_tiles) && channel_bytes * tiles <= kAllTiles;
    run = by_filters ? std::min(kRun, round_up(ceil_div(p.filters, threads), kTileRows)) : kRun;
    const int64_t most = std::clamp<int64_t>(kBlock / (channel_bytes * kTileCols<T>), 1, 4) * kTileCols<T>;
    const int64_t blocks = ceil_div(ceil_div(tiles, most), threads) * threads;  // as many for each thread
    block_tiles = round_up(by_filters ? tiles : ceil_div(tiles, blocks), kLanes<T>);
    u_plane = plane_step<T>((by_filters && !is_prepared ? std::min(run, p.filters) : p.filters) * p.channels);
    v_plane = plane_step<T>(p.channels * block_tiles);
    m_plane = plane_step<T>(std::min(run, p.filters) * block_tiles);
  }
  bool is_prepared;  // the filters are transformed already
  bool by_filters;   // a task is a run of filters, and transforms them itself; else it is a block of tiles
  int slots;
  int64_t run;  // filters whose products are made at a time
  int64_t block_tiles, u_plane, v_plane, m_plane;

  int64_t u_here() const { return is_prepared ? 0 : u_plane; }
  int64_t shared_plane() const { return by_filters ? v_plane : u_here(); }
  int64_t slot_plane() const { return (by_filters ? u_here() : v_plane) + m_plane; }
  int64_t values() const { return kProducts * (shared_plane() + slots * slot_plane()); }
};

/// Tiles of the panel that starts at tile `at` of a block, rounded up to whole vectors.
template <class T>
int64_t panel_cols(int64_t tiles, int64_t at) {
  return std::min(kTileCols<T>, round_up(tiles - at, kLanes<T>));
}

/// u[36][panel of filters][channel][filter] of `count` filters.
template <class T>
void transform_filters(const Problem& p, int64_t count, const T* w, int64_t plane, T* u) {
  using Filters = typename VectorOf<T, kTileRows>::type;
  constexpr int kTaps = kFilter * kFilter;
  constexpr int64_t kChannels = 16;  // that are reordered before the first is transformed
  T weights[kChannels][kTaps][kTileRows] = {};
  for (int64_t first = 0; first < count; first += kTileRows) {
    const int64_t width = std::min<int64_t>(kTileRows, count - first);
    for (int64_t begin = 0; begin < p.channels; begin += kChannels) {
      const int64_t channels = std::min(kChannels, p.channels - begin);
      for (int64_t k = 0; k < width; ++k) {
        for (int64_t c = 0; c < channels; ++c) {
          const T* from = w + (first + k) * p.filter_step + (begin + c) * p.channel_step;
          for (int i = 0; i < kTaps; ++i) weights[c][i][k] = from[p.is_flipped ? kTaps - 1 - i : i];
        }
      }
      for (int64_t c = 0; c < channels; ++c) {
        T* to = u + first * p.channels + (begin + c) * width;
        transform_tile<Filters, FilterTransform<T>>(
            [&](int i, Filters& value) { std::memcpy(&value, weights[c][i], sizeof value); },
            [&](int i, const Filters& value) {
              if (width == kTileRows) {
                std::memcpy(to + i * plane, &value, sizeof value);
              } else {
                std::memcpy(to + i * plane, &value, static_cast<size_t>(width) * sizeof(T));
              }
            });
      }
    }
  }
}

/// v[36][panel of tiles][channel][tile] of the channels [begin, end) and `tiles` tiles from `first` on.
template <class T>
void transform_inputs(const Problem& p, int64_t begin, int64_t end, const T* x, int64_t first, int64_t tiles,
                      int64_t plane, T* v) {
  T gathered[kProducts][kPanelRoom<T>];
  for (int64_t c = begin; c < end; ++c) {
    for (int64_t at = 0; at < tiles; at += kTileCols<T>) {
      const int64_t count = std::min(kTileCols<T>, tiles - at), cols = panel_cols<T>(tiles, at);
      gather_tiles<T, kTile>(p.in, x + c * p.in_plane(), first + at, count, gathered);
      T* to = v + at * p.channels + c * cols;
      for (int64_t t = 0; t < cols; t += kLanes<T>) {
        transform_tile<Vector<T>, InputTransform<T>>(
            [&](int j, Vector<T>& value) { value = load(gathered[j] + t); },
            [&](int j, const Vector<T>& value) { store(value, to + j * plane + t); });
      }
    }
  }
}

/// m[36][panel of tiles][filter][tile] = u * v for a run of filters.
template <class T>
void multiply(const Cut<T>& cut, int64_t channels, int64_t filters, int64_t tiles, const T* u, const T* v, T* m) {
  for (int product = 0; product < kProducts; ++product) {
    for (int64_t at = 0; at < tiles; at += kTileCols<T>) {
      const int64_t cols = panel_cols<T>(tiles, at);
      for (int64_t k = 0; k < filters; k += kTileRows) {
        const int64_t rows = std::min<int64_t>(kTileRows, filters - k);
        multiply_tile(rows, cols, channels, u + product * cut.u_plane + k * channels,
                      v + product * cut.v_plane + at * channels, cols,
                      m + product * cut.m_plane + at * filters + k * cols, cols, false);
      }
    }
  }
}

/// Outputs of a run of filters and `tiles` tiles from `first` on.
template <class T>
void transform_outputs(const Problem& p, int64_t filters, const T* m, int64_t plane, int64_t first, int64_t tiles,
                       const ConvEpilogue<T>& epilogue, T* y) {
  T outputs[kOutput * kOutput][kPanelRoom<T>];
  for (int64_t k = 0; k < filters; ++k) {
    for (int64_t at = 0; at < tiles; at += kTileCols<T>) {
      const int64_t count = std::min(kTileCols<T>, tiles - at), cols = panel_cols<T>(tiles, at);
      const T* from = m + at * filters + k * cols;
      for (int64_t t = 0; t < cols; t += kLanes<T>) {
        transform_tile<Vector<T>, OutputTransform<T>>(
            [&](int j, Vector<T>& value) { value = load(from + j * plane + t); },
            [&](int j, const Vector<T>& value) { store(value, outputs[j] + t); });
      }
      scatter_tiles<T>(p.out, outputs, first + at, count, FilterEpilogue<T>(epilogue.at(k, k * p.out_plane()), 0),
                       y + k * p.out_plane());
    }
  }
}

template <class T>
void transform_all_filters(const Problem& p, const T* w, int64_t plane, T* u) {
  parallel_for(ceil_div(p.filters, kTileRows), item_grain(kTileRows * p.channels * kProducts),
               [&](int64_t begin, int64_t end) {
                 const int64_t k = begin * kTileRows, count = std::min(p.filters, end * kTileRows) - k;
                 transform_filters(p, count, w + k * p.filter_step, plane, u + k * p.channels);
               });
}

template <class T>
void run_group(const Problem& p, const Cut<T>& cut, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y,
               T* workspace) {
  const int64_t tiles = p.in.count();
  T* const shared = workspace;
  const auto slot_values = [&](int slot) {
    return workspace + kProducts * (cut.shared_plane() + slot * cut.slot_plane());
  };
  /// Filters [k, k + count) for a block of tiles.
  const auto finish = [&](int64_t k, int64_t count, int64_t first, int64_t block, const T* u, const T* v, T* m) {
    multiply(cut, p.channels, count, block, u, v, m);
    transform_outputs(p, count, m, cut.m_plane, first, block, epilogue.at(k, k * p.out_plane()), y + k * p.out_plane());
  };
  if (cut.by_filters) {
    parallel_for(p.channels, 4, [&](int64_t begin, int64_t end) {
      transform_inputs(p, begin, end, x, 0, tiles, cut.v_plane, shared);
    });
    parallel_slots(ceil_div(p.filters, cut.run), cut.slots, [&](int64_t task, int slot) {
      const int64_t k = task * cut.run, count = std::min(cut.run, p.filters - k);
      T *const u = slot_values(slot), *const m = u + kProducts * cut.u_here();
      if (!cut.is_prepared) transform_filters(p, count, w + k * p.filter_step, cut.u_plane, u);
      finish(k, count, 0, tiles, cut.is_prepared ? w + k * p.channels : u, shared, m);
    });
    return;
  }
  if (!cut.is_prepared) transform_all_filters(p, w, cut.u_plane, shared);
  const T* const u = cut.is_prepared ? w : shared;
  parallel_slots(ceil_div(tiles, cut.block_tiles), cut.slots, [&](int64_t task, int slot) {
    const int64_t first = task * cut.block_tiles, block = std::min(cut.block_tiles, tiles - first);
    T *const v = slot_values(slot), *const m = v + kProducts * cut.v_plane;
    transform_inputs(p, 0, p.channels, x, first, block, cut.v_plane, v);
    for (int64_t k = 0; k < p.filters; k += cut.run) {
      finish(k, std::min(cut.run, p.filters - k), first, block, u + k * p.channels, v, m);
    }
  });
}

template <class T>
void run(const Conv2dGeometry& g, const Problem& p, const T* in, const T* w, const ConvEpilogue<T>& epilogue, T* out,
         void* workspace) {
  const Cut<T> cut(p, g.threads, g.is_prepared);
  const int64_t weights = g.is_prepared ? kProducts * cut.u_plane : g.group_out() * g.filter_size();
  for (int64_t group = 0; group < g.groups; ++group) {
    const int64_t first = group * p.filters;
    run_group(p, cut, in + group * p.channels * p.in_plane(), w + group * weights,
              epilogue.at(first, first * p.out_plane()), out + first * p.out_plane(), static_cast<T*>(workspace));
  }
}

template <class T>
int64_t prepared_values(const Conv2dGeometry& g) {
  return g.groups * kProducts * plane_step<T>(g.group_out() * g.group_in());
}

template <class T>
void prepare(const Conv2dGeometry& g, const T* w, T* prepared) {
  const Problem p = forward_problem(g);
  const int64_t plane = plane_step<T>(p.filters * p.channels);
  for (int64_t group = 0; group < g.groups; ++group) {
    transform_all_filters(p, w + group * p.filters * g.filter_size(), plane, prepared + group * kProducts * plane);
  }
}

template <class T>
void forward(const Conv2dGeometry& g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y, void* workspace) {
  run(g, forward_problem(g), x, w, epilogue, y, workspace);
}

template <class T>
void backward_input(const Conv2dGeometry& g, const T* gy, const T* w, T* gx, void* workspace) {
  run(g, backward_problem(g), gy, w, ConvEpilogue<T>(), gx, workspace);
}

// ---- The gradient of the weights

/// How the work is cut: the tiles into parts that are summed up separately and then together, or, where the filters are
/// large, the filters into runs. Tiles are taken block by block. Depends on the geometry alone, as the sums do.
///
/// Sizes are of a block's tiles of x, V[36][panel of channels][tile][channel], and of gy, D[36][panel of
/// filters][tile][filter], and of the sums of their products [36][panel of filters][panel of
/// channels][filter][channel].
template <class T>
struct WeightCut {
  WeightCut(const Problem& p, int threads) : slots(threads), channels(round_up(p.channels, kLanes<T>)) {
    constexpr int64_t kLargeSums = 4 << 20, kAllSums = 8 << 20, kMostParts = 8, kBlock = 1 << 20, kAllTiles = 12 << 20;
    const int64_t tiles = p.in.count(), channel_bytes = kProducts * channels * static_cast<int64_t>(sizeof(T));
    const int64_t sum_bytes = channel_bytes * p.filters;
    by_filters = sum_bytes > kLargeSums;
    const int64_t room =
        by_filters ? kAllTiles / channel_bytes : kBlock / (channel_bytes + channel_bytes * p.filters / channels);
    const int64_t most = std::max<int64_t>(room / kLanes<T>, by_filters ? 1 : kTileVectors) * kLanes<T>;
    parts = by_filters ? 1 : std::clamp<int64_t>(std::min(kAllSums / sum_bytes, ceil_div(tiles, most)), 1, kMostParts);
    part_tiles = ceil_div(tiles, parts);
    parts = ceil_div(tiles, part_tiles);
    block_tiles = round_up(ceil_div(part_tiles, ceil_div(part_tiles, most)), kLanes<T>);
    filters = by_filters ? std::min(kRun, p.filters) : p.filters;
    v_plane = plane_step<T>(channels * block_tiles);
    d_plane = plane_step<T>(round_up(filters, kTileRows) * block_tiles);
    sum_plane = plane_step<T>(channels * p.filters);
  }
  bool by_filters;
  int slots;
  int64_t channels, filters;  // of a task; whole vectors of channels
  int64_t parts, part_tiles, block_tiles;
  int64_t v_plane, d_plane, sum_plane;

  int64_t shared_plane() const { return parts * sum_plane + (by_filters ? v_plane : 0); }
  int64_t slot_plane() const { return d_plane + (by_filters ? 0 : v_plane); }
  int64_t values() const { return kProducts * (shared_plane() + slots * slot_plane()); }
};

/// Transformed tiles with the planes innermost: to[36][panel][tile][plane of the panel], for the planes [begin, end).
/// Panels have `panel_width` planes, the last what is left, rounded up to whole multiples of `round`; planes and tiles
/// that only round up are zero. `begin` is a multiple of kLanes.
template <class T, class Transform>
void transform_transposed(const Tiling& tiling, int64_t planes, int64_t begin, int64_t end, const T* from,
                          int64_t first, int64_t tiles, int64_t panel_width, int64_t round, int64_t product_step,
                          T* to) {
  constexpr int kSize = Transform::kFrom;
  const int64_t size = tiling.height * tiling.width, padded_tiles = round_up(tiles, kLanes<T>);
  T gathered[kSize * kSize][kPanelRoom<T>];
  alignas(kVectorBytes) T transformed[kProducts][kLanes<T>][kTileCols<T>];
  for (int64_t group = begin; group < end; group += kLanes<T>) {
    const int64_t width = std::min<int64_t>(kLanes<T>, planes - group);
    for (int64_t at = 0; at < tiles; at += kTileCols<T>) {
      const int64_t count = std::min(kTileCols<T>, tiles - at), cols = panel_cols<T>(tiles, at);
      for (int64_t c = 0; c < width; ++c) {
        gather_tiles<T, kSize>(tiling, from + (group + c) * size, first + at, count, gathered);
        for (auto& values : gathered) std::fill(values + count, values + cols, T(0));
        for (int64_t t = 0; t < cols; t += kLanes<T>) {
          transform_tile<Vector<T>, Transform>(
              [&](int j, Vector<T>& value) { value = load(gathered[j] + t); },
              [&](int j, const Vector<T>& value) { store(value, transformed[j][c] + t); });
        }
      }
      for (int product = 0; product < kProducts; ++product) {
        for (int64_t t = 0; t < cols; t += kLanes<T>) {
          Vector<T> rows[kLanes<T>] = {};
          for (int64_t c = 0; c < width; ++c) rows[c] = load(transformed[product][c] + t);
          transpose<T>(rows);
          for (int64_t c = 0; c < kLanes<T>; c += std::min<int64_t>(kLanes<T>, panel_width)) {
            const int64_t plane = group + c, panel = plane / panel_width * panel_width;
            if (plane >= round_up(planes, round)) break;
            const int64_t panel_planes = std::min(panel_width, round_up(planes - panel, round));
            const int64_t take = std::min<int64_t>(kLanes<T> - c, panel_planes - (plane - panel));
            T* out = to + product * product_step + panel * padded_tiles + (at + t) * panel_planes + (plane - panel);
            for (int64_t l = 0; l < kLanes<T>; ++l, out += panel_planes) {
              T lanes[kLanes<T>];
              store(rows[l], lanes);
              for (int64_t i = 0; i < take; ++i) out[i] = lanes[c + i];
            }
          }
        }
      }
    }
  }
}

/// sums (=|+=) products of the block's tiles, for the filters [begin, end).
template <class T>
void multiply_transposed(const WeightCut<T>& cut, int64_t begin, int64_t end, int64_t tiles, const T* d, const T* v,
                         T* sums, bool add) {
  const int64_t depth = round_up(tiles, kLanes<T>);
  for (int product = 0; product < kProducts; ++product) {
    for (int64_t k = begin; k < end; k += kTileRows) {
      const int64_t rows = std::min<int64_t>(kTileRows, end - k);
      for (int64_t c = 0; c < cut.channels; c += kTileCols<T>) {
        const int64_t cols = std::min(kTileCols<T>, cut.channels - c);
        multiply_tile(rows, cols, depth, d + product * cut.d_plane + (k - begin) * depth,
                      v + product * cut.v_plane + c * depth, cols,
                      sums + product * cut.sum_plane + k * cut.channels + c * rows, cols, add);
      }
    }
  }
}

/// gw of the filters [begin, end) from the sums of all parts.
template <class T>
void transform_sums(const Problem& p, const WeightCut<T>& cut, int64_t begin, int64_t end, const T* sums, T* gw) {
  constexpr int kTaps = kFilter * kFilter;
  for (int64_t k = begin; k < end; ++k) {
    const int64_t panel = k / kTileRows * kTileRows, rows = std::min<int64_t>(kTileRows, p.filters - panel);
    for (int64_t c = 0; c < p.channels; c += kLanes<T>) {
      const int64_t block = c / kTileCols<T> * kTileCols<T>, cols = std::min(kTileCols<T>, cut.channels - block);
      const T* from = sums + panel * cut.channels + block * rows + (k - panel) * cols + (c - block);
      T taps[kTaps][kLanes<T>];
      transform_tile<Vector<T>, FilterGradientTransform<T>>(
          [&](int j, Vector<T>& value) {
            value = load(from + j * cut.sum_plane);
            for (int64_t part = 1; part < cut.parts; ++part) {
              value += load(from + (part * kProducts + j) * cut.sum_plane);
            }
          },
          [&](int j, const Vector<T>& value) { store(value, taps[j]); });
      const int64_t width = std::min<int64_t>(kLanes<T>, p.channels - c);
      T* to = gw + (k * p.channels + c) * kTaps;
      for (int64_t l = 0; l < width; ++l) {
        for (int j = 0; j < kTaps; ++j) *to++ = taps[j][l];
      }
    }
  }
}

template <class T>
void backward_weight_group(const Problem& p, const WeightCut<T>& cut, const T* x, const T* gy, T* gw, T* workspace) {
  T* const sums = workspace;
  const auto slot_values = [&](int slot) {
    return workspace + kProducts * (cut.shared_plane() + slot * cut.slot_plane());
  };
  const auto transform_x = [&](int64_t begin, int64_t end, int64_t first, int64_t tiles, T* v) {
    transform_transposed<T, InputTransform<T>>(p.in, p.channels, begin, end, x, first, tiles, kTileCols<T>, kLanes<T>,
                                               cut.v_plane, v);
  };
  const auto transform_gy = [&](int64_t k, int64_t filters, int64_t first, int64_t tiles, T* d) {
    transform_transposed<T, GradientTransform<T>>(p.out, filters, 0, filters, gy + k * p.out_plane(), first, tiles,
                                                  kTileRows, 1, cut.d_plane, d);
  };
  if (cut.by_filters) {
    T* const v = workspace + kProducts * cut.sum_plane;
    for (int64_t first = 0; first < p.in.count(); first += cut.block_tiles) {
      const int64_t tiles = std::min(cut.block_tiles, p.in.count() - first);
      const bool last = first + tiles == p.in.count();
      parallel_for(ceil_div(p.channels, kLanes<T>), 1, [&](int64_t begin, int64_t end) {
        transform_x(begin * kLanes<T>, std::min(p.channels, end * kLanes<T>), first, tiles, v);
      });
      parallel_slots(ceil_div(p.filters, cut.filters), cut.slots, [&](int64_t task, int slot) {
        const int64_t k = task * cut.filters, end = std::min(p.filters, k + cut.filters);
        T* const d = slot_values(slot);
        transform_gy(k, end - k, first, tiles, d);
        multiply_transposed(cut, k, end, tiles, d, v, sums, first > 0);
        if (last) transform_sums(p, cut, k, end, sums, gw);
      });
    }
    return;
  }
  parallel_slots(cut.parts, cut.slots, [&](int64_t part, int slot) {
    T *const v = slot_values(slot), *const d = v + kProducts * cut.v_plane;
    const int64_t begin = part * cut.part_tiles, end = std::min(p.in.count(), begin + cut.part_tiles);
    for (int64_t first = begin; first < end; first += cut.block_tiles) {
      const int64_t tiles = std::min(cut.block_tiles, end - first);
      transform_x(0, p.channels, first, tiles, v);
      transform_gy(0, p.filters, first, tiles, d);
      multiply_transposed(cut, 0, p.filters, tiles, d, v, sums + part * kProducts * cut.sum_plane, first > begin);
    }
  });
  parallel_for(p.filters, item_grain(cut.channels * kProducts),
               [&](int64_t begin, int64_t end) { transform_sums(p, cut, begin, end, sums, gw); });
}

template <class T>
void backward_weight(const Conv2dGeometry& g, const T* x, const T* gy, T* gw, void* workspace) {
  const Problem p = forward_problem(g);
  const WeightCut<T> cut(p, g.threads);
  for (int64_t group = 0; group < g.groups; ++group) {
    backward_weight_group(p, cut, x + group * p.channels * p.in_plane(), gy + group * p.filters * p.out_plane(),
                          gw + group * p.filters * g.filter_size(), static_cast<T*>(workspace));
  }
}

// ---- The table

bool accepts(const Conv2dGeometry& g, ConvPass) {
  const auto fits = [](const WindowAxis& axis) {
    return axis.kernel == kFilter && axis.stride == 1 && axis.dilation == 1 && axis.output > 0;
  };
  return fits(g.h) && fits(g.w) && g.batch > 0;
}

/// Measured: transforming a tile of one plane, or a filter of one channel, takes as long as this many multiply-adds.
/// Tiles fill whole vectors.
double cost(const Conv2dGeometry& g, ConvPass pass) {
  constexpr double kInput = 1100, kOutput = 800, kTransposed = 1500, kFilter = 1200, kRead = 12;
  const Problem p = pass == ConvPass::kBackwardInput ? backward_problem(g) : forward_problem(g);
  const auto channels = static_cast<double>(p.channels), filters = static_cast<double>(p.filters);
  const double transforms =
      pass == ConvPass::kBackwardWeight ? kTransposed * (channels + filters) : kInput * channels + kOutput * filters;
  const double tiles =
      static_cast<double>(round_up(p.in.count(), kLanes<float>)) * (kProducts * channels * filters + transforms);
  const double preparing = g.is_prepared ? kProducts * kRead : kFilter;
  return static_cast<double>(g.groups) * (tiles + preparing * channels * filters);
}

template <class T>
int64_t workspace_bytes(const Conv2dGeometry& g, ConvPass pass) {
  const int64_t values = pass == ConvPass::kForward ? Cut<T>(forward_problem(g), g.threads, g.is_prepared).values()
                         : pass == ConvPass::kBackwardInput ? Cut<T>(backward_problem(g), g.threads, false).values()
                                                            : WeightCut<T>(forward_problem(g), g.threads).values();
  return values * static_cast<int64_t>(sizeof(T));
}

template <class T>
constexpr WinogradConv2d<T> kTable{{"winograd", accepts, cost, workspace_bytes<T>, prepared_values<T>, prepare<T>,
                                    forward<T>, backward_input<T>, backward_weight<T>, conv2d_bias_gradient<T>}};

}  // namespace

template <>
const WinogradConv2d<float>& table() {
  return kTable<float>;
}
template <>
const WinogradConv2d<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
