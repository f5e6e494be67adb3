// Winograd convolution F(4x4, 3x3) of stride 1, with a quarter of direct convolution's multiplications.
//
// Tiles are numbered through rows and images, and handled in blocks that fit the caches. A block's input tiles become
// V[36][panel of tiles][channel][tile]; 36 matrix products with the transformed filters U[36][panel of
// filters][channel][filter] give M[36][panel of tiles][filter][tile], whose tiles become outputs. The gradient of the
// input is the same with flipped, transposed filters; that of the weights sums products of the tiles of x and gy.
#include <algorithm>

#include "kernels.h"
#include "ops/conv2d/bias.h"
#include "ops/conv2d/conv2d.h"
#include "ops/conv2d/winograd.h"
#include "ops/gemm_tile.h"
#include "ops/shuffle.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

using namespace winograd;

constexpr int64_t ceil_div(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }
constexpr int64_t round_up(int64_t value, int64_t multiple) { return ceil_div(value, multiple) * multiple; }

// ---- Tiles of planes --------------------------------------------------------------------------------------

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

/// Copies `count` values and touches no others; short runs without the price of a call.
template <class T>
void copy_exactly(const T* from, int64_t count, T* to) {
  int64_t j = 0;
  for (; j + kLanes<T> <= count; j += kLanes<T>) store(load(from + j), to + j);
  for (constexpr int64_t kHalf = kLanes<T> / 2; j + kHalf <= count; j += kHalf) {
    std::memcpy(to + j, from + j, kHalf * sizeof(T));
  }
  for (; j < count; ++j) to[j] = from[j];
}

/// The inverse for 4x4 outputs: plane[4 row + i][4 col + j] = values[i * 4 + j][t], what lies outside is dropped.
template <class T>
void scatter_tiles(const Tiling& tiling, const T (*values)[kPanelRoom<T>], int64_t first, int64_t count, T* plane) {
  T line[kOutput * kPanelRoom<T>];
  for_each_run(tiling, first, count, [&](int64_t image, int64_t row, int64_t col, int64_t length, int64_t at) {
    const int64_t left = col * kOutput, width = std::min(length * kOutput, tiling.width - left);
    const int64_t height = std::min<int64_t>(kOutput, tiling.height - row * kOutput);
    T* to = plane + image * tiling.image_step + row * kOutput * tiling.width + left;
    for (int64_t i = 0; i < height; ++i, to += tiling.width) {
      for (int64_t t = 0; t < length; t += kLanes<T>) {
        Vector<T> parts[kOutput];
        for (int j = 0; j < kOutput; ++j) parts[j] = load(values[i * kOutput + j] + at + t);
        interleave4(parts, line + t * kOutput);
      }
      copy_exactly(line, width, to);
    }
  });
}

// ---- Forward and the gradient of the input ----------------------------------------------------------------

/// A convolution of one group: its tiles and how its weights are indexed.
struct Problem {
  int64_t channels, filters;
  int64_t filter_step, channel_step;  // of the weights
  bool is_flipped;
  Tiling in, out;
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

/// How the work is cut: blocks of tiles, and chunks of filters. Each block needs all transformed filters: the larger
/// they are, the more tiles should share them. Where one block can take all tiles, large filters are transformed chunk
/// by chunk just before their use, so that they need not travel through memory.
template <class T>
struct Cut {
  Cut(int64_t channels, int64_t filters, int64_t tiles) {
    constexpr int64_t kSmall = 2 << 20, kLarge = 8 << 20, kChunk = 4 << 20, kOneBlock = 12 << 20;
    const int64_t channel_bytes = kProducts * channels * static_cast<int64_t>(sizeof(T));  // of a tile or a filter
    const int64_t filter_bytes = channel_bytes * filters;
    const bool chunked = filter_bytes > kChunk && tiles * channel_bytes <= kOneBlock;
    const int64_t tile_bytes = channel_bytes + channel_bytes * filters / channels;
    const int64_t most = round_up(std::clamp(filter_bytes, kSmall, kLarge) / tile_bytes, kTileCols<T>);
    const int64_t blocks = chunked ? 1 : std::max<int64_t>(1, ceil_div(tiles, most));
    block_tiles = std::min(round_up(ceil_div(tiles, blocks), kTileCols<T>), round_up(tiles, kLanes<T>));
    chunk_filters = chunked ? std::min(filters, round_up(kChunk / channel_bytes, kTileRows * kFilterRun)) : filters;
  }
  static constexpr int64_t kFilterRun = 4;  // panels of filters that share the passes over the tiles
  int64_t block_tiles, chunk_filters;
};

/// Sizes, in values, of a chunk's U, a block's V and their M. Planes of the 36 products are a cache line further apart
/// than they need, so that they do not compete for the same places of the cache.
template <class T>
struct BlockPlan : Cut<T> {
  BlockPlan(int64_t channels, int64_t filters, int64_t tiles) : Cut<T>(channels, filters, tiles) {
    u_plane = this->chunk_filters * channels + kLanes<T>;
    v_plane = channels * this->block_tiles + kLanes<T>;
    m_plane = this->chunk_filters * this->block_tiles + kLanes<T>;
  }
  int64_t u_plane, v_plane, m_plane;

  int64_t values() const { return kProducts * (u_plane + v_plane + m_plane); }
};

/// Tiles of the panel that starts at tile `at` of a block, rounded up to whole vectors.
template <class T>
int64_t panel_cols(int64_t tiles, int64_t at) {
  return std::min(kTileCols<T>, round_up(tiles - at, kLanes<T>));
}

/// u[36][panel of filters][channel][filter] from the weights of one group.
template <class T>
void transform_filters(const Problem& p, const T* w, int64_t plane, T* u) {
  using Filters = typename VectorOf<T, kTileRows>::type;
  constexpr int kTaps = kFilter * kFilter;
  constexpr int64_t kRun = 16;  // channels that are reordered before the first is transformed
  const int64_t panels = ceil_div(p.filters, kTileRows);
  parallel_for(panels, item_grain(kTileRows * p.channels * kProducts), [&](int64_t begin, int64_t end) {
    T weights[kRun][kTaps][kTileRows] = {};
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t first = panel * kTileRows, width = std::min<int64_t>(kTileRows, p.filters - first);
      for (int64_t run = 0; run < p.channels; run += kRun) {
        const int64_t count = std::min(kRun, p.channels - run);
        for (int64_t k = 0; k < width; ++k) {
          for (int64_t c = 0; c < count; ++c) {
            const T* from = w + (first + k) * p.filter_step + (run + c) * p.channel_step;
            for (int i = 0; i < kTaps; ++i) weights[c][i][k] = from[p.is_flipped ? kTaps - 1 - i : i];
          }
        }
        for (int64_t c = 0; c < count; ++c) {
          T* to = u + first * p.channels + (run + c) * width;
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
  });
}

/// v[36][panel of tiles][channel][tile] of `tiles` tiles from `first` on.
template <class T>
void transform_inputs(const Tiling& tiling, int64_t channels, int64_t channel_step, const T* x, int64_t first,
                      int64_t tiles, int64_t plane, T* v) {
  const int64_t panels = ceil_div(tiles, kTileCols<T>);
  parallel_for(channels * panels, item_grain(kProducts * kTileCols<T> * 4), [&](int64_t begin, int64_t end) {
    T gathered[kProducts][kPanelRoom<T>];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t c = i / panels, at = i % panels * kTileCols<T>, count = std::min(kTileCols<T>, tiles - at);
      const int64_t cols = panel_cols<T>(tiles, at);
      gather_tiles<T, kTile>(tiling, x + c * channel_step, first + at, count, gathered);
      T* to = v + at * channels + c * cols;
      for (int64_t t = 0; t < cols; t += kLanes<T>) {
        transform_tile<Vector<T>, InputTransform<T>>(
            [&](int j, Vector<T>& value) { value = load(gathered[j] + t); },
            [&](int j, const Vector<T>& value) { store(value, to + j * plane + t); });
      }
    }
  });
}

/// m[36][panel of tiles][filter][tile] = u * v.
template <class T>
void multiply(const Problem& p, const BlockPlan<T>& plan, int64_t tiles, const T* u, const T* v, T* m) {
  constexpr int64_t kRun = Cut<T>::kFilterRun;
  const int64_t runs = ceil_div(p.filters, kRun * kTileRows);
  parallel_for(kProducts * runs, item_grain(kRun * kTileRows * p.channels * tiles / 16),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   const int64_t product = i / runs, run = i % runs * kRun * kTileRows;
                   for (int64_t at = 0; at < tiles; at += kTileCols<T>) {
                     const int64_t cols = panel_cols<T>(tiles, at);
                     for (int64_t k = run; k < std::min(p.filters, run + kRun * kTileRows); k += kTileRows) {
                       const int64_t rows = std::min<int64_t>(kTileRows, p.filters - k);
                       multiply_tile(rows, cols, p.channels, u + product * plan.u_plane + k * p.channels,
                                     v + product * plan.v_plane + at * p.channels, cols,
                                     m + product * plan.m_plane + at * p.filters + k * cols, cols, false);
                     }
                   }
                 }
               });
}

/// Outputs of `tiles` tiles from `first` on.
template <class T>
void transform_outputs(const Problem& p, const T* m, int64_t plane, int64_t first, int64_t tiles, const T* bias, T* y) {
  const int64_t panels = ceil_div(tiles, kTileCols<T>);
  parallel_for(p.filters * panels, item_grain(kProducts * kTileCols<T> * 4), [&](int64_t begin, int64_t end) {
    T outputs[kOutput * kOutput][kPanelRoom<T>];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t k = i / panels, at = i % panels * kTileCols<T>, count = std::min(kTileCols<T>, tiles - at);
      const int64_t cols = panel_cols<T>(tiles, at);
      const T* from = m + at * p.filters + k * cols;
      const T add = bias ? bias[k] : T(0);
      for (int64_t t = 0; t < cols; t += kLanes<T>) {
        transform_tile<Vector<T>, OutputTransform<T>>(
            [&](int j, Vector<T>& value) { value = load(from + j * plane + t); },
            [&](int j, const Vector<T>& value) { store(value + add, outputs[j] + t); });
      }
      scatter_tiles<T>(p.out, outputs, first + at, count, y + k * p.out.height * p.out.width);
    }
  });
}

template <class T>
void run(const Conv2dGeometry& g, const Problem& p, const T* in, const T* w, const T* bias, T* out, void* workspace) {
  const BlockPlan<T> plan(p.channels, p.filters, p.in.count());
  const int64_t in_plane = p.in.height * p.in.width, out_plane = p.out.height * p.out.width;
  T* const u = static_cast<T*>(workspace);
  T* const v = u + kProducts * plan.u_plane;
  T* const m = v + kProducts * plan.v_plane;
  for (int64_t group = 0; group < g.groups; ++group) {
    for (int64_t first = 0; first < p.in.count(); first += plan.block_tiles) {
      const int64_t tiles = std::min(plan.block_tiles, p.in.count() - first);
      transform_inputs(p.in, p.channels, in_plane, in + group * p.channels * in_plane, first, tiles, plan.v_plane, v);
      for (int64_t k = 0; k < p.filters; k += plan.chunk_filters) {
        Problem chunk = p;
        chunk.filters = std::min(plan.chunk_filters, p.filters - k);
        const int64_t filter = group * p.filters + k;
        if (first == 0 || plan.chunk_filters < p.filters) {
          transform_filters(chunk, w + group * g.group_out() * g.filter_size() + k * p.filter_step, plan.u_plane, u);
        }
        multiply(chunk, plan, tiles, u, v, m);
        transform_outputs(chunk, m, plan.m_plane, first, tiles, bias ? bias + filter : nullptr,
                          out + filter * out_plane);
      }
    }
  }
}

template <class T>
void forward(const Conv2dGeometry& g, const T* x, const T* w, const T* b, T* y, void* workspace) {
  run(g, forward_problem(g), x, w, b, y, workspace);
}

template <class T>
void backward_input(const Conv2dGeometry& g, const T* gy, const T* w, T* gx, void* workspace) {
  run(g, backward_problem(g), gy, w, static_cast<const T*>(nullptr), gx, workspace);
}

// ---- The gradient of the weights --------------------------------------------------------------------------

/// Sizes of what the gradient of the weights needs: a block's tiles of x as V[36][panel of channels][tile][channel] and
/// a chunk's of gy as D[36][panel of filters][tile][filter], and the sums of their products
/// [36][panel of filters][panel of channels][filter][channel].
template <class T>
struct WeightPlan : Cut<T> {
  WeightPlan(const Problem& p)
      : Cut<T>(p.channels, p.filters, p.in.count()), channels(round_up(p.channels, kLanes<T>)) {
    v_plane = channels * this->block_tiles + kLanes<T>;
    d_plane = round_up(this->chunk_filters, kTileRows) * this->block_tiles + kLanes<T>;
    sum_plane = channels * this->chunk_filters + kLanes<T>;
  }
  int64_t channels, v_plane, d_plane, sum_plane;

  int64_t values() const { return kProducts * (v_plane + d_plane + sum_plane); }
};

/// Transformed tiles with the planes innermost: to[36][panel][tile][plane of the panel], panels of kWidth planes (the
/// last as wide as what is left, in whole steps of `round`). Tiles up to `padded_tiles` and planes up to a panel's
/// width are zero.
template <class T, class Transform>
void transform_transposed(const Tiling& tiling, int64_t planes, const T* from, int64_t first, int64_t tiles,
                          int64_t panel_width, int64_t round, int64_t plane_step, T* to) {
  constexpr int kSize = Transform::kFrom;
  const int64_t size = tiling.height * tiling.width, padded_tiles = round_up(tiles, kLanes<T>);
  const int64_t groups = ceil_div(planes, kLanes<T>), chunks = ceil_div(tiles, kTileCols<T>);
  parallel_for(groups * chunks, 1, [&](int64_t begin, int64_t end) {
    T gathered[kSize * kSize][kPanelRoom<T>];
    alignas(kVectorBytes) T transformed[kProducts][kLanes<T>][kTileCols<T>];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t group = i % groups * kLanes<T>, at = i / groups * kTileCols<T>;
      const int64_t count = std::min(kTileCols<T>, tiles - at), cols = panel_cols<T>(tiles, at);
      const int64_t width = std::min<int64_t>(kLanes<T>, planes - group);
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
            T* out = to + product * plane_step + panel * padded_tiles + (at + t) * panel_planes + (plane - panel);
            for (int64_t l = 0; l < kLanes<T>; ++l, out += panel_planes) {
              std::memcpy(out, reinterpret_cast<const T*>(&rows[l]) + c, static_cast<size_t>(take) * sizeof(T));
            }
          }
        }
      }
    }
  });
}

/// sums (=|+=) products of the block's tiles.
template <class T>
void multiply_transposed(const WeightPlan<T>& plan, int64_t filters, int64_t tiles, const T* d, const T* v, T* sums,
                         bool add) {
  const int64_t panels = ceil_div(filters, kTileRows), depth = round_up(tiles, kLanes<T>);
  parallel_for(kProducts * panels, item_grain(kTileRows * plan.channels * tiles / 16), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t product = i / panels, k = i % panels * kTileRows;
      const int64_t rows = std::min<int64_t>(kTileRows, filters - k);
      for (int64_t c = 0; c < plan.channels; c += kTileCols<T>) {
        const int64_t cols = std::min(kTileCols<T>, plan.channels - c);
        multiply_tile(rows, cols, depth, d + product * plan.d_plane + k * depth, v + product * plan.v_plane + c * depth,
                      cols, sums + product * plan.sum_plane + k * plan.channels + c * rows, cols, add);
      }
    }
  });
}

/// gw from the sums of products.
template <class T>
void transform_sums(const WeightPlan<T>& plan, int64_t filters, int64_t channels, const T* sums, T* gw) {
  constexpr int kTaps = kFilter * kFilter;
  parallel_for(filters, item_grain(plan.channels * kProducts), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t panel = k / kTileRows * kTileRows, rows = std::min<int64_t>(kTileRows, filters - panel);
      for (int64_t c = 0; c < channels; c += kLanes<T>) {
        const int64_t block = c / kTileCols<T> * kTileCols<T>, cols = std::min(kTileCols<T>, plan.channels - block);
        const T* from = sums + panel * plan.channels + block * rows + (k - panel) * cols + (c - block);
        T taps[kTaps][kLanes<T>];
        transform_tile<Vector<T>, FilterGradientTransform<T>>(
            [&](int j, Vector<T>& value) { value = load(from + j * plan.sum_plane); },
            [&](int j, const Vector<T>& value) { store(value, taps[j]); });
        const int64_t width = std::min<int64_t>(kLanes<T>, channels - c);
        T* to = gw + (k * channels + c) * kTaps;
        for (int64_t l = 0; l < width; ++l) {
          for (int j = 0; j < kTaps; ++j) *to++ = taps[j][l];
        }
      }
    }
  });
}

template <class T>
void backward_weight(const Conv2dGeometry& g, const T* x, const T* gy, T* gw, void* workspace) {
  const Problem p = forward_problem(g);
  const WeightPlan<T> plan(p);
  T* const v = static_cast<T*>(workspace);
  T* const d = v + kProducts * plan.v_plane;
  T* const sums = d + kProducts * plan.d_plane;
  for (int64_t group = 0; group < g.groups; ++group) {
    for (int64_t first = 0; first < p.in.count(); first += plan.block_tiles) {
      const int64_t tiles = std::min(plan.block_tiles, p.in.count() - first);
      transform_transposed<T, InputTransform<T>>(p.in, p.channels, x + group * p.channels * g.input_plane(), first,
                                                 tiles, kTileCols<T>, kLanes<T>, plan.v_plane, v);
      for (int64_t k = 0; k < p.filters; k += plan.chunk_filters) {
        const int64_t filters = std::min(plan.chunk_filters, p.filters - k), filter = group * p.filters + k;
        transform_transposed<T, GradientTransform<T>>(p.out, filters, gy + filter * g.output_plane(), first, tiles,
                                                      kTileRows, 1, plan.d_plane, d);
        multiply_transposed(plan, filters, tiles, d, v, sums, first > 0);
        if (first + tiles == p.in.count())
          transform_sums(plan, filters, p.channels, sums, gw + filter * g.filter_size());
      }
    }
  }
}

// ---- The table --------------------------------------------------------------------------------------------

bool accepts(const Conv2dGeometry& g) {
  const auto fits = [](const WindowAxis& axis) {
    return axis.kernel == kFilter && axis.stride == 1 && axis.dilation == 1 && axis.output > 0;
  };
  return fits(g.h) && fits(g.w) && g.batch > 0;
}

/// Measured: transforming a tile of one plane, or a filter of one channel, takes as long as this many multiply-adds.
double cost(const Conv2dGeometry& g, ConvPass pass) {
  constexpr double kInput = 1100, kOutput = 800, kTransposed = 1500, kFilter = 1200;
  const Problem p = pass == ConvPass::kBackwardInput ? backward_problem(g) : forward_problem(g);
  const auto channels = static_cast<double>(p.channels), filters = static_cast<double>(p.filters);
  const double transforms =
      pass == ConvPass::kBackwardWeight ? kTransposed * (channels + filters) : kInput * channels + kOutput * filters;
  const double tiles = static_cast<double>(p.in.count()) * (kProducts * channels * filters + transforms);
  return static_cast<double>(g.groups) * (tiles + kFilter * channels * filters);
}

template <class T>
int64_t workspace_bytes(const Conv2dGeometry& g, ConvPass pass) {
  const auto values_of = [](const Problem& p) { return BlockPlan<T>(p.channels, p.filters, p.in.count()).values(); };
  const int64_t values = pass == ConvPass::kForward         ? values_of(forward_problem(g))
                         : pass == ConvPass::kBackwardInput ? values_of(backward_problem(g))
                                                            : WeightPlan<T>(forward_problem(g)).values();
  return values * static_cast<int64_t>(sizeof(T));
}

template <class T>
constexpr WinogradConv2d<T> kTable{{"winograd", accepts, cost, workspace_bytes<T>, forward<T>, backward_input<T>,
                                    backward_weight<T>, conv2d_bias_gradient<T>}};

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
