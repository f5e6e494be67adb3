// The inner loops of direct convolution: a stride-1 sweep of many filters over padded planes.
#pragma once

#include <array>
#include <utility>
#include <vector>

#include "ops/conv2d/epilogue.h"
#include "ops/conv2d/padded.h"
#include "ops/max_pool_2x2.h"
#include "ops/simd.h"
#include "parallel.h"
#include "rounding.h"

namespace cnnx::CNNX_ISA {

inline constexpr int kTileVectors = 3;  // of neighbouring outputs
inline constexpr int kTileFilters =
    kVectorRegisters == 32 ? 8 : 4;  // times 3 accumulators and 3 inputs fit the registers

/// y[o][dest(p)] = epilogue of the sum over channels c and taps t of w[o][c][t] * x[c][p + taps[t]].
struct Sweep {
  Padded source;
  int64_t channels = 0;
  std::vector<int64_t> taps;         // offsets into a padded plane
  std::vector<int64_t> tap_indices;  // their places in the filter
  int64_t filters = 0;
  int64_t filter_stride = 0, channel_stride = 0;  // of the weights
  // Outputs (i, j), i < rows, j < cols, are written to first + i * row_step + j * col_step of a plane of dest_plane
  // values.
  int64_t rows = 0, cols = 0;
  int64_t first = 0, row_step = 0, col_step = 1, dest_plane = 0;

  int64_t positions() const { return (rows - 1) * source.pitch + cols; }
  int64_t panels() const { return ceil_div(filters, kTileFilters); }
  int64_t packed_values() const { return filters * channels * static_cast<int64_t>(taps.size()); }
};

/// Reorders the weights of one group to [panel][channel][tap][filter of the panel].
template <class T>
void pack_panel(const Sweep& s, const T* w, int64_t panel, T* packed) {
  const int64_t begin = panel * kTileFilters, width = std::min<int64_t>(kTileFilters, s.filters - begin);
  T* to = packed + begin * s.channels * static_cast<int64_t>(s.taps.size());
  for (int64_t c = 0; c < s.channels; ++c) {
    for (const int64_t tap : s.tap_indices) {
      const T* from = w + begin * s.filter_stride + c * s.channel_stride + tap;
      for (int64_t i = 0; i < width; ++i) *to++ = from[i * s.filter_stride];
    }
  }
}

/// out (kFilters, kVectors * lanes), whose rows are `ld` apart, for outputs from x on. `a` is a packed panel.
template <class T, int kFilters, int kVectors>
void sweep_tile(const Sweep& s, const T* a, const T* x, T* out, int64_t ld) {
  Vector<T> acc[kFilters][kVectors] = {};
  const int64_t plane = s.source.plane();
  const int64_t* const taps = s.taps.data();
  const auto tap_count = static_cast<int64_t>(s.taps.size());
  for (int64_t c = 0; c < s.channels; ++c, x += plane) {
    for (int64_t t = 0; t < tap_count; ++t, a += kFilters) {
      const T* from = x + taps[t];
      Vector<T> b[kVectors];
      for (int v = 0; v < kVectors; ++v) b[v] = load(from + v * kLanes<T>);
#pragma GCC unroll 8
      for (int k = 0; k < kFilters; ++k) {
        for (int v = 0; v < kVectors; ++v) acc[k][v] += a[k] * b[v];
      }
    }
  }
  for (int k = 0; k < kFilters; ++k) {
    for (int v = 0; v < kVectors; ++v) store(acc[k][v], out + k * ld + v * kLanes<T>);
  }
}

template <class T>
using TileFn = void (*)(const Sweep&, const T*, const T*, T*, int64_t);

template <class T, int... kIndex>
constexpr std::array<TileFn<T>, sizeof...(kIndex)> make_tiles(std::integer_sequence<int, kIndex...>) {
  return {sweep_tile<T, kIndex / kTileVectors + 1, kIndex % kTileVectors + 1>...};
}
/// That of so many filters and vectors.
template <class T>
TileFn<T> tile_of(int64_t filters, int64_t vectors) {
  static constexpr auto kTiles = make_tiles<T>(std::make_integer_sequence<int, kTileFilters * kTileVectors>());
  return kTiles[static_cast<size_t>((filters - 1) * kTileVectors + vectors - 1)];
}

/// Writes the outputs [begin, end) of `width` filters from a tile, whose rows have `ld` values, to their planes. The
/// epilogue, that of these filters, is only for outputs that lie next to each other.
template <class T>
void store_tile(const Sweep& s, int64_t begin, int64_t end, int64_t width, const T* tile, int64_t ld,
                const ConvEpilogue<T>& epilogue, T* out) {
  for (int64_t p = begin; p < end;) {
    const int64_t i = p / s.source.pitch, j = p - i * s.source.pitch;
    if (j >= s.cols) {
      p += s.source.pitch - j;
      continue;
    }
    const int64_t length = std::min(s.cols - j, end - p);
    int64_t at = s.first + i * s.row_step + j * s.col_step;
    const T* from = tile + (p - begin);
    for (int64_t k = 0; k < width; ++k, at += s.dest_plane, from += ld) {
      if (s.col_step == 1) {
        FilterEpilogue<T>(epilogue, k).write(from, length, at, out);
      } else {
        for (int64_t l = 0; l < length; ++l) out[at + l * s.col_step] = from[l];
      }
    }
    p += length;
  }
}

/// Runs the sweep over `units` pairs of image and group whose padded planes lie behind each other. Weights are packed,
/// one group behind the other; unit u belongs to group u % groups.
template <class T>
void run_sweep(const Sweep& s, int64_t units, int64_t groups, const T* padded, const T* packed,
               const ConvEpilogue<T>& epilogue, T* out) {
  constexpr int64_t kBlock = kTileVectors * kLanes<T>, kLongestChunk = 8 * kBlock;
  constexpr int64_t kEnoughTasks = 16, kWorthwhile = 1 << 19;  // multiply-adds that pay for waking a thread
  if (s.rows <= 0 || s.cols <= 0 || units == 0) return;
  const int64_t positions = s.positions(), panels = s.panels();
  // Chunks of one length and an even number of parts: two threads have the same to do.
  const int64_t most = ceil_div(positions, kLongestChunk);
  const int64_t chunk_length = round_up(ceil_div(positions, most), kBlock);
  const int64_t chunks = ceil_div(positions, chunk_length);
  const int64_t parts = std::clamp<int64_t>(round_up(kEnoughTasks / (units * chunks), 2), 1, panels),
                run = ceil_div(panels, parts);
  const auto depth = s.channels * static_cast<int64_t>(s.taps.size());
  const int64_t cost = std::max<int64_t>(1, chunk_length * run * kTileFilters * depth);
  parallel_for(units * chunks * parts, std::max<int64_t>(1, kWorthwhile / cost), [&](int64_t task, int64_t last) {
    T tile[kTileFilters * kBlock];
    for (; task < last; ++task) {
      const int64_t part = task % parts, chunk = task / parts % chunks, unit = task / parts / chunks,
                    group = unit % groups;
      const T* x = padded + unit * s.channels * s.source.plane();
      for (int64_t panel = part * run; panel < std::min(panels, (part + 1) * run); ++panel) {
        const int64_t k = panel * kTileFilters, width = std::min<int64_t>(kTileFilters, s.filters - k);
        const T* a = packed + group * s.packed_values() + k * depth;
        const int64_t dest = (unit * s.filters + k) * s.dest_plane;
        const ConvEpilogue<T> e = epilogue.at(group * s.filters + k, dest);
        for (int64_t p = chunk * chunk_length; p < std::min(positions, (chunk + 1) * chunk_length); p += kBlock) {
          const int64_t end = std::min(positions, p + kBlock), vectors = ceil_div(end - p, kLanes<T>);
          tile_of<T>(width, vectors)(s, a, x + p, tile, kBlock);
          store_tile(s, p, end, width, tile, kBlock, e, out + dest);
        }
      }
    }
  });
}

/// How run_pooled_sweep() cuts a map: bands of whole rows of windows, whose sums lie in memory of the thread's own.
template <class T>
struct PooledBands {
  PooledBands(int64_t all_rows, int64_t pitch) {
    const int64_t most = std::max<int64_t>(2, kLongestBand / pitch);
    rows = round_up(ceil_div(all_rows, ceil_div(all_rows, most)), 2);
    count = ceil_div(all_rows, rows);
    // Vectors of sums, and what pooling reads behind a row.
    sum_step = round_up(rows * pitch, kLanes<T>) + 2 * kLanes<T>;
  }
  static constexpr int64_t kLongestBand = (1 << 12) / static_cast<int64_t>(sizeof(T));  // values of a filter

  int64_t rows, count;  // `rows` is even
  int64_t sum_step;     // from one filter's sums to the next one's
  int64_t values() const { return kTileFilters * sum_step; }
};

/// run_sweep() and 2x2 max pooling, of outputs with row_step == cols, in whole planes. `sums` has room for the bands of
/// `slots` threads.
template <bool kSwitches, class T>
void run_pooled_sweep(const Sweep& s, int64_t units, int64_t groups, const T* padded, const T* packed,
                      const ConvEpilogue<T>& epilogue, T* out, uint8_t* switches, T* sums, int slots) {
  constexpr int64_t kBlock = kTileVectors * kLanes<T>;
  constexpr double kWorthwhile = 1 << 20;  // multiply-adds that pay for waking a thread
  const PooledBands<T> bands(s.rows, s.source.pitch);
  const int64_t panels = s.panels(), depth = s.channels * static_cast<int64_t>(s.taps.size()), pitch = s.source.pitch;
  const int64_t cols = s.cols / 2, plane = s.rows / 2 * cols, tasks = units * panels * bands.count;
  const double cost = static_cast<double>(units * s.filters) * static_cast<double>(s.positions() * depth);
  parallel_slots(tasks, cost < kWorthwhile ? 1 : slots, [&](int64_t task, int slot) {
    const int64_t band = task % bands.count, panel = task / bands.count % panels, unit = task / bands.count / panels,
                  group = unit % groups;
    const int64_t k = panel * kTileFilters, width = std::min<int64_t>(kTileFilters, s.filters - k);
    const int64_t first = band * bands.rows, rows = std::min(bands.rows, s.rows - first);
    const T* const x = padded + unit * s.channels * s.source.plane() + first * pitch;
    const T* const a = packed + group * s.packed_values() + k * depth;
    T* const own = sums + slot * bands.values();
    const int64_t positions = (rows - 1) * pitch + s.cols;
    for (int64_t p = 0; p < positions; p += kBlock) {
      const int64_t vectors = std::min<int64_t>(kTileVectors, ceil_div(positions - p, kLanes<T>));
      tile_of<T>(width, vectors)(s, a, x + p, own + p, bands.sum_step);
    }
    // A row is written in whole vectors where what lies behind it is written later.
    const int64_t to = (unit * s.filters + k) * plane + first / 2 * cols, reach = round_up(cols, kLanes<T>);
    const int64_t last = bands.count > 1 ? 0 : to + width * plane;
    for (int64_t i = 0; i < width; ++i) {
      T* const from = own + i * bands.sum_step;
      FilterEpilogue<T>(epilogue, group * s.filters + k + i).write(from, positions, 0, from);
      const int64_t end = std::max(last, to + i * plane + rows / 2 * cols);
      for (int64_t row = 0; row < rows / 2; ++row) {
        const int64_t at = to + i * plane + row * cols;
        const T* const top = from + 2 * row * pitch;
        pool_row_2x2<kSwitches>(cols, top, top + pitch, out + at, kSwitches ? switches + at : nullptr,
                                at + reach <= end);
      }
    }
  });
}

}  // namespace cnnx::CNNX_ISA
