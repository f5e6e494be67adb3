// Winograd's gradient of the weights: F(r x r) over the tiles of the input, V[product][tile][channel], and of the
// output's gradient, D[product][tile][filter]; the sums of their products over all tiles become gradients of weights.
#pragma once

#include "ops/conv2d/winograd_forward.h"

namespace cnnx::CNNX_ISA::winograd {

/// How the work is cut. The tiles are divided into parts that are summed up separately and then together, and each
/// part's tiles are taken block by block; that depends on the geometry alone, as the sums do. The filters are divided
/// into runs: where they are large, and where the parts are too few for the threads. Each thread then transforms the
/// input of a part for itself, for the reason given at Cut.
template <class Form, class T>
struct WeightCut {
  WeightCut(const Problem& p, int threads) : slots(threads), channels(round_up(p.channels, kLanes<T>)) {
    constexpr int64_t kLargeSums = 4 << 20, kAllSums = 8 << 20, kMostParts = 8, kBlock = 1 << 20, kAllTiles = 12 << 20;
    constexpr int64_t kLeastTiles = 32;
    const int64_t tiles = p.in.count(), value = Form::kProducts * static_cast<int64_t>(sizeof(T));
    const int64_t sum_bytes = value * channels * p.filters;
    by_filters = sum_bytes > kLargeSums;
    filters = by_filters ? std::min<int64_t>(2 * kLanes<T>, p.filters) : p.filters;
    v_pitch = tile_pitch<T>(p.channels);
    d_pitch = tile_pitch<T>(filters);
    const int64_t most =
        std::max(by_filters ? kAllTiles / (value * v_pitch) : kBlock / (value * (v_pitch + d_pitch)), kLeastTiles);
    parts = by_filters ? 1 : std::clamp<int64_t>(std::min(kAllSums / sum_bytes, ceil_div(tiles, most)), 1, kMostParts);
    part_tiles = ceil_div(tiles, parts);
    parts = ceil_div(tiles, part_tiles);
    block_tiles = ceil_div(part_tiles, ceil_div(part_tiles, most));
    if (!by_filters && parts % threads != 0 && parts < 4 * threads) {
      filters = std::min(p.filters, round_up(ceil_div(p.filters, threads), kLanes<T>));
      d_pitch = tile_pitch<T>(filters);
    }
    v_plane = plane_step<T>(v_pitch * block_tiles);
    d_plane = plane_step<T>(d_pitch * block_tiles);
    keeps_sums = !by_filters || block_tiles < tiles;
    sum_plane = plane_step<T>(channels * (keeps_sums ? p.filters : filters));
    pixels = most_pixels<Form, T>(p, block_tiles);
  }
  bool by_filters;
  bool keeps_sums;  // of all filters; else a run's, of all tiles, are made and used up at once
  int slots;
  int64_t channels, filters;  // of a task; whole vectors of channels
  int64_t parts, part_tiles, block_tiles;
  int64_t v_pitch, d_pitch, v_plane, d_plane, sum_plane, pixels;

  int64_t part_values() const { return Form::kProducts * sum_plane; }
  int64_t v_values() const { return Form::kProducts * v_plane; }
  int64_t shared_values() const { return (keeps_sums ? parts * part_values() : 0) + (by_filters ? v_values() : 0); }
  int64_t slot_values() const {
    return pixels + Form::kProducts * d_plane + (by_filters ? 0 : v_values()) + (keeps_sums ? 0 : part_values());
  }
  int64_t values() const { return shared_values() + slots * slot_values(); }
};

template <class Form, class T>
class GroupWeightRun {
 public:
  GroupWeightRun(const Problem& p, const WeightCut<Form, T>& cut, const T* x, const T* x_last, const T* gy,
                 const T* gy_last, T* gw, T* workspace)
      : p_(p), cut_(cut), x_(x), x_last_(x_last), gy_(gy), gy_last_(gy_last), gw_(gw), workspace_(workspace) {}

  void run() {
    if (cut_.by_filters) {
      run_by_filters();
    } else {
      run_by_parts();
    }
  }

 private:
  void run_by_filters() {
    const int64_t tiles = p_.in.count();
    T *const v = workspace_, *const all_sums = v + cut_.v_values();
    for (int64_t first = 0; first < tiles; first += cut_.block_tiles) {
      const int64_t count = std::min(cut_.block_tiles, tiles - first);
      parallel_slots(ceil_div(p_.channels, kLanes<T>), cut_.slots, [&](int64_t task, int slot) {
        const int64_t begin = task * kLanes<T>;
        transform_x(begin, std::min(p_.channels, begin + kLanes<T>), first, count, slot, v);
      });
      parallel_slots(ceil_div(p_.filters, cut_.filters), cut_.slots, [&](int64_t task, int slot) {
        const int64_t k = task * cut_.filters, filters = std::min(cut_.filters, p_.filters - k);
        transform_gy(k, filters, first, count, slot);
        T* const sums = cut_.keeps_sums ? all_sums + k * cut_.channels : d(slot) + Form::kProducts * cut_.d_plane;
        multiply(filters, count, v, slot, sums, first > 0);
        if (first + count == tiles) transform_sums(filters, sums, gw_ + k * p_.channels * Form::kTaps);
      });
    }
  }

  void run_by_parts() {
    const int64_t runs = ceil_div(p_.filters, cut_.filters);
    std::vector<int64_t> transformed(static_cast<size_t>(cut_.slots), -1);  // the block of tiles a slot has last
    parallel_slots(cut_.parts * runs, cut_.slots, [&](int64_t task, int slot) {
      const int64_t part = task / runs, k = task % runs * cut_.filters,
                    filters = std::min(cut_.filters, p_.filters - k);
      T *const v = d(slot) + Form::kProducts * cut_.d_plane, *const all_sums = workspace_ + part * cut_.part_values();
      const int64_t begin = part * cut_.part_tiles, end = std::min(p_.in.count(), begin + cut_.part_tiles);
      for (int64_t first = begin; first < end; first += cut_.block_tiles) {
        const int64_t count = std::min(cut_.block_tiles, end - first);
        if (std::exchange(transformed[static_cast<size_t>(slot)], first) != first) {
          transform_x(0, p_.channels, first, count, slot, v);
        }
        transform_gy(k, filters, first, count, slot);
        multiply(filters, count, v, slot, all_sums + k * cut_.channels, first > begin);
      }
      if (cut_.parts == 1) transform_sums(filters, all_sums + k * cut_.channels, gw_ + k * p_.channels * Form::kTaps);
    });
    if (cut_.parts == 1) return;
    parallel_for(p_.filters, item_grain(cut_.channels * Form::kProducts), [&](int64_t begin, int64_t end) {
      transform_sums(end - begin, workspace_ + begin * cut_.channels, gw_ + begin * p_.channels * Form::kTaps);
    });
  }

  void transform_x(int64_t begin, int64_t end, int64_t first, int64_t count, int slot, T* v) {
    transform_tiles<typename Form::Input>(p_.in, x_, x_last_, begin, end, first, count, cut_.v_pitch, cut_.v_plane,
                                          pixels(slot), v);
  }

  void transform_gy(int64_t k, int64_t filters, int64_t first, int64_t count, int slot) {
    transform_tiles<typename Form::Gradient>(p_.out, gy_ + k * p_.out.plane(), gy_last_, 0, filters, first, count,
                                             cut_.d_pitch, cut_.d_plane, pixels(slot), d(slot));
  }

  /// sums[product][filter][channel] (=|+=) products of the tiles.
  void multiply(int64_t filters, int64_t tiles, const T* v, int slot, T* sums, bool add) {
    for (int product = 0; product < Form::kProducts; ++product) {
      for (int64_t c = 0; c < cut_.channels; c += kTileCols<T>) {
        multiply_panel<LeftOrder::kColumns>(
            filters, std::min(kTileCols<T>, cut_.channels - c), tiles, d(slot) + product * cut_.d_plane, cut_.d_pitch,
            v + product * cut_.v_plane + c, cut_.v_pitch, sums + product * cut_.sum_plane + c, cut_.channels, add);
      }
    }
  }

  /// gw of some filters from the sums of all parts.
  void transform_sums(int64_t filters, T* sums, T* gw) {
    constexpr int64_t kStep = kLanes<T>;
    T taps[Form::kTaps * kStep];
    for (int64_t k = 0; k < filters; ++k, sums += cut_.channels) {
      for (int64_t part = 1; part < cut_.parts; ++part) add_part(sums, sums + part * cut_.part_values());
      for (int64_t c = 0; c < p_.channels; c += kStep) {
        transform_tile<typename Form::FilterGradient>(sums + c, {Form::kTile * cut_.sum_plane, cut_.sum_plane}, taps,
                                                      {Form::kFilter * kStep, kStep});
        store_taps<Form::kTaps>(taps, std::min(kStep, p_.channels - c), gw + (k * p_.channels + c) * Form::kTaps);
      }
    }
  }

  /// Adds one filter's sums.
  void add_part(T* row, const T* part) {
    for (int product = 0; product < Form::kProducts; ++product) {
      for (int64_t c = 0; c < cut_.channels; c += kLanes<T>) {
        const int64_t at = product * cut_.sum_plane + c;
        store(load(row + at) + load(part + at), row + at);
      }
    }
  }

  T* pixels(int slot) const { return workspace_ + cut_.shared_values() + slot * cut_.slot_values(); }
  T* d(int slot) const { return pixels(slot) + cut_.pixels; }

  const Problem& p_;
  const WeightCut<Form, T>& cut_;
  const T *x_, *x_last_, *gy_, *gy_last_;
  T *gw_, *workspace_;
};

template <class Form, class T>
void backward_weight(const Conv2dGeometry& g, const T* x, const T* gy, T* gw, void* workspace) {
  const Problem p = forward_problem<Form>(g);
  const WeightCut<Form, T> cut(p, g.threads);
  for (int64_t group = 0; group < g.groups; ++group) {
    GroupWeightRun<Form, T>(p, cut, x + group * p.channels * p.in.plane(), x + p.in.images * p.in.image_step,
                            gy + group * p.filters * p.out.plane(), gy + p.out.images * p.out.image_step,
                            gw + group * p.filters * g.filter_size(), static_cast<T*>(workspace))
        .run();
  }
}

}  // namespace cnnx::CNNX_ISA::winograd
