// Winograd's forward pass, and the gradient of the input, which is the same with flipped, transposed filters.
//
// Tiles of the input become V[product][tile][channel], the filters U[panel][product][channel][filter of the panel], in
// the order in which they are read; their matrix products M[product][tile][filter], one panel at a time, become tiles
// of outputs.
//
// Threads share as little as they can, because on many machines their caches are far apart: each takes whole blocks of
// tiles, or, where the filters are the larger part, all tiles and some panels.
#pragma once

#include <utility>
#include <vector>

#include "ops/conv2d/panels.h"
#include "ops/conv2d/winograd_blocks.h"
#include "ops/conv2d/winograd_filters.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA::winograd {

/// A convolution of one group: its tiles and how its weights are indexed.
struct Problem {
  int64_t channels, filters;
  int64_t filter_step, channel_step;  // of the weights
  bool is_flipped;
  Tiling in, out;
};

template <class Form>
Problem forward_problem(const Conv2dGeometry& g) {
  constexpr int64_t kStep = Form::kOutput;
  const int64_t rows = ceil_div(g.h.output, kStep), cols = ceil_div(g.w.output, kStep);
  return {g.group_in(),
          g.group_out(),
          g.filter_size(),
          Form::kTaps,
          false,
          {kStep, g.batch, g.h.input, g.w.input, g.h.pad_before, g.w.pad_before, rows, cols,
           g.in_channels * g.input_plane()},
          {kStep, g.batch, g.h.output, g.w.output, 0, 0, rows, cols, g.out_channels * g.output_plane()}};
}

template <class Form>
Problem backward_problem(const Conv2dGeometry& g) {
  constexpr int64_t kStep = Form::kOutput;
  const int64_t rows = ceil_div(g.h.input, kStep), cols = ceil_div(g.w.input, kStep);
  return {g.group_out(),
          g.group_in(),
          Form::kTaps,
          g.filter_size(),
          true,
          {kStep, g.batch, g.h.output, g.w.output, Form::kFilter - 1 - g.h.pad_before,
           Form::kFilter - 1 - g.w.pad_before, rows, cols, g.out_channels * g.output_plane()},
          {kStep, g.batch, g.h.input, g.w.input, 0, 0, rows, cols, g.in_channels * g.input_plane()}};
}

template <class Form>
Problem make_problem(const Conv2dGeometry& g, ConvPass pass) {
  return pass == ConvPass::kBackwardInput ? backward_problem<Form>(g) : forward_problem<Form>(g);
}

/// Room for the pixels of `tiles` tiles, of the input or of the output.
template <class Form, class T>
int64_t most_pixels(const Problem& p, int64_t tiles) {
  return std::max({pixel_values<T>(p.in, Form::kTile, tiles), pixel_values<T>(p.out, Form::kOutput, tiles),
                   2 * pixel_values<T>(pooled(p.out), Form::kOutput / 2, tiles)});
}

/// Planes of the products lie a cache line further apart than they need, so that they do not compete for the same
/// places of the cache.
template <class T>
int64_t plane_step(int64_t values) {
  return values + kLanes<T>;
}

/// From one tile's channels to the next one's; not a multiple of 1 KiB, for the same reason.
template <class T>
int64_t tile_pitch(int64_t channels) {
  const int64_t values = round_up(channels, kLanes<T>);
  return values * static_cast<int64_t>(sizeof(T)) % 1024 == 0 ? values + kLanes<T> : values;
}

/// Where a panel's transformed filters start; that of the one after the last is their number.
template <class Form, class T>
int64_t panel_offset(const Problem& p, const Panels<T>& panels, int64_t panel) {
  return Form::kProducts * (panels.first(panel) * p.channels + panel * plane_step<T>(0));
}

/// Values of the transformed filters of one group.
template <class Form, class T>
int64_t filter_values(const Problem& p) {
  const Panels<T> panels(p.filters);
  return panel_offset<Form>(p, panels, panels.count);
}

/// What transforming a tile of one input plane, a tile of one output plane and a filter of one channel takes, measured
/// in multiply-adds for each product.
struct TransformCost {
  static constexpr double kInput = 20, kOutput = 12, kFilter = 12;
};

/// How the work is cut. Nothing of it changes the results.
///
/// A core passes on about 14 KB in a microsecond of what it has just written, and has to take it back before it writes
/// there again. Each thread transforms all it needs by itself in less time than that, unless its cache cannot hold it.
template <class Form, class T>
struct Cut {
  Cut(const Problem& p, int threads, bool prepared) : is_prepared(prepared), slots(threads) {
    constexpr int64_t kOwned = 1 << 20, kLargeFilters = 4 << 20, kAllTiles = 12 << 20, kBlock = 1 << 18;
    constexpr int64_t kLeastTiles = 6 * kTileRows, kMostTiles = 24 * kTileRows;
    pitch = tile_pitch<T>(p.channels);
    const int64_t tiles = p.in.count(), tile_bytes = Form::kProducts * pitch * static_cast<int64_t>(sizeof(T));
    const int64_t filter_bytes = Form::kProducts * p.filters * p.channels * static_cast<int64_t>(sizeof(T));
    const bool large_filters =
        filter_bytes > kLargeFilters || (filter_bytes > kOwned && filter_bytes > tiles * tile_bytes);
    by_filters = (large_filters || faster_by_filters(p)) && tiles <= kAllTiles / tile_bytes;
    owns_filters = by_filters || filter_bytes <= kOwned;
    owns_tiles = !by_filters || tiles * tile_bytes <= kOwned;
    const int64_t most = std::clamp(kBlock / tile_bytes / kTileRows * kTileRows, kLeastTiles, kMostTiles);
    const int64_t blocks = ceil_div(ceil_div(tiles, most), threads) * threads;  // as many for each thread
    block_tiles = by_filters ? tiles : round_up(ceil_div(tiles, blocks), kTileRows);
    const int64_t panel = std::min(kTileCols<T>, round_up(p.filters, kLanes<T>));
    u_values = is_prepared  ? 0
               : by_filters ? Form::kProducts * plane_step<T>(panel * std::min(p.channels, kSumDepth))
                            : filter_values<Form, T>(p);
    v_plane = plane_step<T>(pitch * block_tiles);
    m_plane = plane_step<T>(panel * block_tiles);
    pixels = most_pixels<Form, T>(p, block_tiles);
  }
  bool is_prepared;  // the filters are transformed already
  bool by_filters;   // a task is a panel of filters, and transforms them bit by bit; else it is a block of tiles
  bool owns_filters, owns_tiles;  // each thread transforms them for itself
  int slots;
  int64_t block_tiles, pitch, u_values, v_plane, m_plane, pixels;

  int64_t v_values() const { return Form::kProducts * v_plane; }
  int64_t shared_values() const { return (owns_tiles ? 0 : v_values()) + (owns_filters ? 0 : u_values); }
  int64_t slot_values() const {
    return pixels + Form::kProducts * m_plane + (owns_tiles ? v_values() : 0) + (owns_filters ? u_values : 0);
  }
  int64_t values() const { return shared_values() + slots * slot_values(); }

 private:
  bool faster_by_filters(const Problem& p) const {
    const auto tiles = static_cast<double>(p.in.count()), channels = static_cast<double>(p.channels),
               filters = static_cast<double>(p.filters);
    const double inputs = TransformCost::kInput * tiles * channels;
    const double weights = is_prepared ? 0 : TransformCost::kFilter * channels * filters;
    const double products = tiles * filters * (channels + TransformCost::kOutput);
    const auto largest_share = [&](int64_t tasks) {
      return static_cast<double>(ceil_div(tasks, slots)) / static_cast<double>(tasks);
    };
    return inputs + (weights + products) * largest_share(Panels<T>(p.filters).count) <
           weights + (inputs + products) * largest_share(ceil_div(p.in.count(), kTileRows));
  }
};

/// u[product][channel][filter] of the panel that starts at filter k, of `channels` channels from c on.
template <class Form, class T>
void transform_panel(const Problem& p, const T* w, int64_t k, int64_t width, int64_t c, int64_t channels,
                     int64_t product_step, T* u) {
  const T* const last = w + p.filters * p.channels * Form::kTaps;
  for (int64_t i = 0; i < width; i += kLanes<T>) {
    transform_filters<Form>(w + (k + i) * p.filter_step + c * p.channel_step, p.filter_step,
                            std::min<int64_t>(kLanes<T>, p.filters - k - i), channels, p.channel_step, p.is_flipped,
                            last, width, product_step, u + i);
  }
}

template <class Form, class T>
void transform_all_filters(const Problem& p, const T* w, T* u) {
  const Panels<T> panels(p.filters);
  parallel_for(panels.count, item_grain(kTileCols<T> * p.channels * Form::kProducts), [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t k = panels.first(panel);
      transform_panel<Form>(p, w, k, panels.width(panel), 0, p.channels,
                            plane_step<T>(panels.width(panel) * p.channels), u + panel_offset<Form>(p, panels, panel));
    }
  });
}

template <class Form, class T>
class GroupRun {
 public:
  GroupRun(const Problem& p, const Cut<Form, T>& cut, const BlockedPass& pass, const ConvEpilogue<T>& epilogue, T* y,
           T* workspace)
      : p_(p),
        cut_(cut),
        pass_(pass),
        out_(pass.pools ? pooled(p.out) : p.out),
        panels_(p.filters),
        epilogue_(epilogue),
        y_(y),
        workspace_(workspace),
        is_new_(static_cast<size_t>(cut.slots), 1) {}

  /// `w` are the weights, or what prepare() made of them; `last` is the end of all images.
  void run(const T* x, const T* last, const T* w) {
    if (cut_.by_filters) {
      run_by_filters(x, last, w);
    } else {
      run_by_tiles(x, last, w);
    }
  }

 private:
  void run_by_filters(const T* x, const T* last, const T* w) {
    const int64_t tiles = p_.in.count();
    const auto transform = [&](int64_t begin, int64_t end, int slot) {
      transform_inputs(x, last, begin, end, 0, tiles, slot);
    };
    if (!cut_.owns_tiles) {
      parallel_slots(ceil_div(p_.channels, kLanes<T>), cut_.slots, [&](int64_t task, int slot) {
        transform(task * kLanes<T>, std::min(p_.channels, (task + 1) * kLanes<T>), slot);
      });
    }
    parallel_slots(panels_.count, cut_.slots, [&](int64_t panel, int slot) {
      if (cut_.owns_tiles && is_first(slot)) transform(0, p_.channels, slot);
      const int64_t k = panels_.first(panel), width = panels_.width(panel);
      if (cut_.is_prepared) {
        multiply(width, tiles, p_.channels, w + panel_offset<Form>(p_, panels_, panel), v(slot), false, slot);
      } else {
        for (int64_t c = 0; c < p_.channels; c += kSumDepth) {  // filters that stay in the second-level cache
          const int64_t channels = std::min(kSumDepth, p_.channels - c);
          transform_panel<Form>(p_, w, k, width, c, channels, plane_step<T>(width * channels), u(slot));
          multiply(width, tiles, channels, u(slot), v(slot) + c, c > 0, slot);
        }
      }
      write(panel, 0, tiles, slot);
    });
  }

  void run_by_tiles(const T* x, const T* last, const T* w) {
    if (!cut_.is_prepared && !cut_.owns_filters) transform_all_filters<Form>(p_, w, u(0));
    const int64_t tiles = p_.in.count();
    parallel_slots(ceil_div(tiles, cut_.block_tiles), cut_.slots, [&](int64_t block, int slot) {
      if (!cut_.is_prepared && cut_.owns_filters && is_first(slot)) transform_all_filters<Form>(p_, w, u(slot));
      const T* const filters = cut_.is_prepared ? w : u(slot);
      const int64_t first = block * cut_.block_tiles, count = std::min(cut_.block_tiles, tiles - first);
      transform_inputs(x, last, 0, p_.channels, first, count, slot);
      for (int64_t panel = 0; panel < panels_.count; ++panel) {
        multiply(panels_.width(panel), count, p_.channels, filters + panel_offset<Form>(p_, panels_, panel), v(slot),
                 false, slot);
        write(panel, first, count, slot);
      }
    });
  }

  /// v[product][tile][channel] of some channels and tiles.
  void transform_inputs(const T* x, const T* last, int64_t begin, int64_t end, int64_t first, int64_t count, int slot) {
    if (pass_.from_blocks) {
      transform_blocks<typename Form::Input>(p_.in, x, begin, end, p_.channels, first, count, cut_.pitch, cut_.v_plane,
                                             v(slot));
    } else {
      transform_tiles<typename Form::Input>(p_.in, x, last, begin, end, first, count, cut_.pitch, cut_.v_plane,
                                            pixels(slot), v(slot));
    }
  }

  /// m[product][tile][filter] (=|+=) v * u for a panel and some channels.
  void multiply(int64_t width, int64_t tiles, int64_t channels, const T* u, const T* v, bool add, int slot) {
    for (int product = 0; product < Form::kProducts; ++product) {
      multiply_panel<LeftOrder::kRows>(tiles, width, channels, v + product * cut_.v_plane, cut_.pitch,
                                       u + product * plane_step<T>(width * channels), width,
                                       m(slot) + product * cut_.m_plane, width, add);
    }
  }

  /// The outputs of a panel for `count` tiles from `first` on.
  void write(int64_t panel, int64_t first, int64_t count, int slot) {
    using Output = typename Form::Output;
    const int64_t width = panels_.width(panel);
    for (int64_t i = 0; i < width; i += kLanes<T>) {
      const int64_t k = panels_.first(panel) + i, lanes = std::min<int64_t>(kLanes<T>, p_.filters - k);
      const ConvEpilogue<T> epilogue = epilogue_.at(k, k * p_.out.plane());
      const T* const products = m(slot) + i;
      if (pass_.to.lanes > 0) {
        const auto write =
            pass_.pools ? write_blocks<Output, TileUse::kPooled, T> : write_blocks<Output, TileUse::kPlain, T>;
        write(out_, pass_.to, products, width, cut_.m_plane, first, count, LaneEpilogue<T>(epilogue, lanes),
              k / kLanes<T>, y_);
      } else if (pass_.pools) {
        write_pooled_tiles<Output>(out_, products, width, cut_.m_plane, first, count, LaneEpilogue<T>(epilogue, lanes),
                                   lanes, pixels(slot), y_ + k * out_.plane(),
                                   pass_.switches ? pass_.switches + k * out_.plane() : nullptr);
      } else {
        write_tiles<Output>(out_, products, width, cut_.m_plane, first, count, epilogue, lanes, pixels(slot),
                            y_ + k * out_.plane());
      }
    }
  }

  /// Whether this slot has had no task before.
  bool is_first(int slot) { return std::exchange(is_new_[static_cast<size_t>(slot)], 0) == 1; }

  T* pixels(int slot) const { return workspace_ + cut_.shared_values() + slot * cut_.slot_values(); }
  T* m(int slot) const { return pixels(slot) + cut_.pixels; }
  T* own(int slot) const { return m(slot) + Form::kProducts * cut_.m_plane; }
  T* v(int slot) const { return cut_.owns_tiles ? own(slot) : workspace_; }
  T* u(int slot) const { return cut_.owns_filters ? own(slot) + (cut_.owns_tiles ? cut_.v_values() : 0) : workspace_; }

  const Problem& p_;
  const Cut<Form, T>& cut_;
  const BlockedPass& pass_;
  const Tiling out_;  // what is written
  const Panels<T> panels_;
  const ConvEpilogue<T>& epilogue_;
  T* y_;
  T* workspace_;
  std::vector<char> is_new_;
};

template <class Form, class T>
void run(const Conv2dGeometry& g, const Problem& p, const BlockedPass& pass, const T* in, const T* w,
         const ConvEpilogue<T>& epilogue, T* out, void* workspace) {
  const Cut<Form, T> cut(p, g.threads, g.is_prepared);
  const int64_t weights = g.is_prepared ? filter_values<Form, T>(p) : p.filters * p.channels * Form::kTaps;
  const T* const last = in + p.in.images * p.in.image_step;
  const int64_t written = pass.pools ? pooled(p.out).plane() : p.out.plane();
  for (int64_t group = 0; group < g.groups; ++group) {
    const int64_t first = group * p.filters;
    BlockedPass own = pass;
    if (own.switches) own.switches += first * written;
    GroupRun<Form, T>(p, cut, own, epilogue.at(first, first * p.out.plane()), out + first * written,
                      static_cast<T*>(workspace))
        .run(in + group * p.channels * p.in.plane(), last, w + group * weights);
  }
}

template <class Form, class T>
int64_t prepared_values(const Conv2dGeometry& g) {
  return g.groups * filter_values<Form, T>(forward_problem<Form>(g));
}

template <class Form, class T>
void prepare(const Conv2dGeometry& g, const T* w, T* prepared) {
  const Problem p = forward_problem<Form>(g);
  for (int64_t group = 0; group < g.groups; ++group) {
    transform_all_filters<Form>(p, w + group * p.filters * g.filter_size(),
                                prepared + group * filter_values<Form, T>(p));
  }
}

template <class Form, class T>
void forward(const Conv2dGeometry& g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y, void* workspace) {
  run<Form>(g, forward_problem<Form>(g), BlockedPass(), x, w, epilogue, y, workspace);
}

template <class Form, class T>
void forward_pooled(const Conv2dGeometry& g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y,
                    uint8_t* switches, void* workspace) {
  const BlockedPass pass{.pools = true, .switches = switches};
  run<Form>(g, forward_problem<Form>(g), pass, x, w, epilogue, y, workspace);
}

template <class Form, class T>
BlockedShape reads(const Conv2dGeometry& g) {
  if (g.groups > 1 || g.in_channels % kLanes<T> != 0) return {};
  return blocks_of<T>(forward_problem<Form>(g).in, Form::kTile, g.in_channels);
}

template <class Form, class T>
void forward_blocked(const Conv2dGeometry& g, const BlockedPass& pass, const T* x, const T* w,
                     const ConvEpilogue<T>& epilogue, T* y, void* workspace) {
  run<Form>(g, forward_problem<Form>(g), pass, x, w, epilogue, y, workspace);
}

template <class Form, class T>
void backward_input(const Conv2dGeometry& g, const T* gy, const T* w, T* gx, void* workspace) {
  run<Form>(g, backward_problem<Form>(g), BlockedPass(), gy, w, ConvEpilogue<T>(), gx, workspace);
}

}  // namespace cnnx::CNNX_ISA::winograd
