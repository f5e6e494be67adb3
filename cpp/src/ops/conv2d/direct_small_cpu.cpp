// Direct convolution for small maps: filters lie along the vector and each input value is spread over it, so that no
// shape of the map wastes part of a vector and nothing but the filters is reordered. Sums are transposed on their way
// out, or pooled before. A forward pass only.
#include <array>
#include <span>
#include <utility>
#include <vector>

#include "kernels.h"
#include "ops/conv2d/bias.h"
#include "ops/conv2d/padded.h"
#include "ops/conv2d/transposed_sums.h"
#include "ops/transpose_matrix.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

constexpr int kSpots = 12;  // neighbouring outputs of a tile; with two rows of them the sums fill the registers
constexpr int kSpotRows = kVectorRegisters == 32 ? 2 : 1;

/// Where the value of each tap lies: in the image itself where no border is needed, else in a padded copy.
template <class T>
struct SmallPlan {
  explicit SmallPlan(const Conv2dGeometry& geometry) : g(geometry), padded(padded_input(g)) {
    const auto is_plain = [](const WindowAxis& a) {
      return a.stride == 1 && a.pad_before == 0 && a.output + a.extent() - 1 <= a.input;
    };
    copies = !is_plain(g.h) || !is_plain(g.w);
    if (!copies) padded.pitch = g.w.input;
    plane = copies ? padded.plane() : g.input_plane();
    panels = ceil_div(g.group_out(), kLanes<T>);
    // With few images the panels are shared out, too.
    const int64_t parts = std::clamp<int64_t>(kEnoughTasks / std::max<int64_t>(1, g.batch * g.groups), 1, panels);
    run = ceil_div(panels, parts);
  }
  static constexpr int64_t kEnoughTasks = 16;

  int64_t panel_values() const { return g.filter_size() * kLanes<T>; }
  int64_t packed_values() const { return g.groups * panels * panel_values(); }
  int64_t sum_values() const { return round_up(g.output_plane(), kLanes<T>) * kLanes<T>; }
  /// The sums of a map, and a copy of an image.
  int64_t slot_values() const { return sum_values() + (copies ? round_up(g.group_in() * plane, 16) : 0); }
  /// Offsets of the taps, which only the loops need: a plan is made for every estimate.
  std::vector<int64_t> taps() const {
    std::vector<int64_t> offsets;
    offsets.reserve(static_cast<size_t>(g.h.kernel * g.w.kernel));
    for (int64_t r = 0; r < g.h.kernel; ++r) {
      for (int64_t s = 0; s < g.w.kernel; ++s) offsets.push_back(padded.offset(r * g.h.dilation, s * g.w.dilation));
    }
    return offsets;
  }

  const Conv2dGeometry& g;
  Padded padded;
  bool copies;
  int64_t plane, panels, run;
};

/// packed[panel][channel][tap][filter of the panel], filters that fill up the last vector zero.
template <class T>
void pack(const SmallPlan<T>& p, const T* w, T* packed) {
  const int64_t depth = p.g.filter_size();
  std::fill(packed, packed + p.packed_values(), T(0));
  parallel_for(p.g.groups * p.panels, item_grain(p.panel_values()), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t group = i / p.panels, k = i % p.panels * kLanes<T>;
      transpose_matrix(std::min<int64_t>(kLanes<T>, p.g.group_out() - k), depth,
                       w + (group * p.g.group_out() + k) * depth, depth, packed + i * p.panel_values(),
                       int64_t{kLanes<T>});
    }
  });
}

/// sums[i * width + j] = the vector of filters at output (i, j) behind x, for i < kRows, j < kCols.
template <class T, int kRows, int kCols>
void small_tile(const SmallPlan<T>& p, std::span<const int64_t> taps, const T* w, const T* x, T* sums) {
  Vector<T> acc[kRows][kCols] = {};
  const int64_t pitch = p.padded.pitch, width = p.g.w.output, channels = p.g.group_in();
  for (int64_t c = 0; c < channels; ++c, x += p.plane) {
    for (const int64_t tap : taps) {
      const T* from = x + tap;
      const Vector<T> filters = load(w);
      for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 12
        for (int j = 0; j < kCols; ++j) acc[i][j] += filters * from[i * pitch + j];
      }
      w += kLanes<T>;
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kCols; ++j) store(acc[i][j], sums + (i * width + j) * kLanes<T>);
  }
}

template <class T>
using SmallTile = void (*)(const SmallPlan<T>&, std::span<const int64_t>, const T*, const T*, T*);
template <class T, int... kIndex>
constexpr std::array<SmallTile<T>, sizeof...(kIndex)> make_small_tiles(std::integer_sequence<int, kIndex...>) {
  return {small_tile<T, kIndex / kSpots + 1, kIndex % kSpots + 1>...};
}
/// By (rows - 1) * kSpots + cols - 1.
template <class T>
constexpr auto kSmallTiles = make_small_tiles<T>(std::make_integer_sequence<int, kSpotRows * kSpots>());

/// The sums of one panel of filters over a whole map.
template <class T>
void sum_map(const SmallPlan<T>& p, std::span<const int64_t> taps, const T* w, const T* x, T* sums) {
  const int64_t width = p.g.w.output, parts = ceil_div(width, kSpots);
  for (int64_t oh = 0; oh < p.g.h.output; oh += kSpotRows) {
    const int64_t rows = std::min<int64_t>(kSpotRows, p.g.h.output - oh);
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t ow = part * width / parts, cols = (part + 1) * width / parts - ow;
      const SmallTile<T> tile = kSmallTiles<T>[static_cast<size_t>((rows - 1) * kSpots + cols - 1)];
      tile(p, taps, w, x + (oh * p.padded.pitch + ow), sums + (oh * width + ow) * kLanes<T>);
    }
  }
}

// ---- The table

bool accepts(const Conv2dGeometry& g, ConvPass pass) {
  return pass == ConvPass::kForward && g.output_plane() > 0 && g.batch > 0 && is_worth_copying(padded_input(g));
}

/// Measured: the share of the full speed that the loops reach, and how long writing a sum, copying a value and packing
/// a weight take, in multiply-adds.
double cost(const Conv2dGeometry& g, ConvPass) {
  constexpr double kSpeed = 0.65, kSum = 25, kCopy = 40, kWeight = 20;
  const SmallPlan<float> p(g);
  const auto sums = static_cast<double>(g.output_plane() * p.panels * kLanes<float>);
  const auto depth = static_cast<double>(g.filter_size());
  const double copies = p.copies ? kCopy * static_cast<double>(g.group_in() * p.plane) : 0;
  const double weights = g.is_prepared ? 0 : kWeight * static_cast<double>(p.packed_values());
  return static_cast<double>(g.batch * g.groups) * (sums * (depth / kSpeed + kSum) + copies) + weights;
}

template <class T>
int64_t workspace_bytes(const Conv2dGeometry& g, ConvPass) {
  const SmallPlan<T> p(g);
  const int64_t packed = g.is_prepared ? 0 : round_up(p.packed_values(), 16);
  return (packed + g.threads * p.slot_values()) * static_cast<int64_t>(sizeof(T));
}

template <class T>
int64_t prepared_values(const Conv2dGeometry& g) {
  return SmallPlan<T>(g).packed_values();
}

template <class T>
void prepare(const Conv2dGeometry& g, const T* w, T* prepared) {
  pack(SmallPlan<T>(g), w, prepared);
}

/// Pools the sums of a map, in place: what becomes of 2x2 of them, each vector perhaps with one of the winners behind
/// it, lies before what is still to be read.
template <bool kSwitches, class T>
void pool_map(const Conv2dGeometry& g, const LaneEpilogue<T>& epilogue, T* sums) {
  const int64_t row = g.w.output * kLanes<T>;
  T* to = sums;
  for (int64_t oh = 0; oh + 1 < g.h.output; oh += 2) {
    for (int64_t ow = 0; ow + 1 < g.w.output; ow += 2) {
      const PooledPixel<T> pixel(sums + oh * row + ow * kLanes<T>, row, kLanes<T>, epilogue);
      store(pixel.best, to);
      if constexpr (kSwitches) store(pixel.winner, to += kLanes<T>);
      to += kLanes<T>;
    }
  }
}

/// Calls write(first filter, filters, planes of y before its own, sums) for the map of each vector of filters.
template <class T, class F>
void run(const Conv2dGeometry& g, const T* x, const T* w, void* workspace, const F& write) {
  constexpr double kWorthwhile = 1 << 19;  // multiply-adds that pay for waking a thread
  const SmallPlan<T> p(g);
  T* slots = static_cast<T*>(workspace);
  if (!g.is_prepared) {
    pack(p, w, slots);
    w = slots;
    slots += round_up(p.packed_values(), 16);
  }
  const std::vector<int64_t> taps = p.taps();
  const int64_t runs = ceil_div(p.panels, p.run);
  const int threads = g.multiply_adds() < 2 * kWorthwhile ? 1 : g.threads;
  parallel_slots(g.batch * g.groups * runs, threads, [&](int64_t task, int slot) {
    const int64_t run = task % runs, unit = task / runs, group = unit % g.groups;
    T* const sums = slots + slot * p.slot_values();
    const T* image = x + unit * g.group_in() * g.input_plane();
    if (p.copies) {
      T* const copy = sums + p.sum_values();
      for (int64_t c = 0; c < g.group_in(); ++c) copy_padded(p.padded, image + c * g.input_plane(), copy + c * p.plane);
      image = copy;
    }
    for (int64_t panel = run * p.run; panel < std::min(p.panels, (run + 1) * p.run); ++panel) {
      const int64_t k = panel * kLanes<T>;
      sum_map(p, taps, w + (group * p.panels + panel) * p.panel_values(), image, sums);
      write(group * g.group_out() + k, std::min<int64_t>(kLanes<T>, g.group_out() - k), unit * g.group_out() + k, sums);
    }
  });
}

template <class T>
void forward(const Conv2dGeometry& g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y, void* workspace) {
  const int64_t plane = g.output_plane();
  run(g, x, w, workspace, [&](int64_t k, int64_t filters, int64_t planes, const T* sums) {
    write_transposed(sums, int64_t{kLanes<T>}, filters, 0, plane, plane, epilogue.at(k, planes * plane),
                     y + planes * plane);
  });
}

template <class T>
void forward_pooled(const Conv2dGeometry& g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y,
                    uint8_t* switches, void* workspace) {
  const int64_t plane = (g.h.output / 2) * (g.w.output / 2);
  run(g, x, w, workspace, [&](int64_t k, int64_t filters, int64_t planes, T* sums) {
    const LaneEpilogue<T> lanes(epilogue.at(k, 0), filters);
    const int64_t step = switches ? 2 * kLanes<T> : kLanes<T>;
    (switches ? pool_map<true, T> : pool_map<false, T>)(g, lanes, sums);
    write_transposed(sums, step, filters, 0, plane, plane, {}, y + planes * plane);
    if (switches) write_transposed_bytes(sums + kLanes<T>, step, filters, plane, plane, switches + planes * plane);
  });
}

template <class T>
constexpr SmallDirectConv2d<T> kTable{{"direct_small", accepts, cost, workspace_bytes<T>, prepared_values<T>,
                                       prepare<T>, forward<T>, nullptr, nullptr, conv2d_bias_gradient<T>,
                                       forward_pooled<T>}};

}  // namespace

template <>
const SmallDirectConv2d<float>& table() {
  return kTable<float>;
}
template <>
const SmallDirectConv2d<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
