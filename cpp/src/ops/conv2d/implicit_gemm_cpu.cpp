// Convolution as a matrix product whose one operand, the image patches, is packed block by block straight into the
// order in which the inner kernel reads it; the other, the weights, is reordered once.
//
// Filters lie along the vector, output positions of all images along the rows of a tile. So no shape of the image
// wastes part of a vector, a stride costs nothing in the product, and small images of a batch are worked on together.
// Sums of a tile are transposed on their way out. The gradient of the weight is the product of weight_gemm.h; for that
// of the input the other algorithms are faster.
#include <algorithm>

#include "kernels.h"
#include "ops/conv2d/bias.h"
#include "ops/conv2d/panels.h"
#include "ops/conv2d/transposed_sums.h"
#include "ops/conv2d/weight_gemm.h"
#include "ops/gemm_tile.h"
#include "ops/transpose_matrix.h"
#include "parallel.h"
#include "rounding.h"

namespace cnnx::CNNX_ISA {
namespace {

/// The product of one group: y (positions, filters) = patches (positions, depth) * weights (depth, filters).
struct Problem {
  int64_t images, groups, channels, filters;  // of a group
  WindowAxis h, w;

  int64_t taps() const { return h.kernel * w.kernel; }
  int64_t depth() const { return channels * taps(); }
  int64_t in_plane() const { return h.input * w.input; }
  int64_t out_plane() const { return h.output * w.output; }
  int64_t positions() const { return images * out_plane(); }
};

Problem make_problem(const Conv2dGeometry& g) {
  Problem p{g.batch, g.groups, g.group_in(), g.group_out(), g.h, g.w};
  if (g.is_pointwise()) {  // both axes as one: long runs, no edges
    p.w.input = p.w.output = p.out_plane();
    p.h.input = p.h.output = 1;
  }
  return p;
}

template <class T>
int64_t packed_values(const Problem& p) {
  return round_up(p.filters, kLanes<T>) * p.depth();
}

/// packed[panel][depth][filter of the panel] of one group, filters that fill up the last vector zero.
template <class T>
void pack_weights(const Problem& p, const T* w, T* packed) {
  const Panels<T> panels(p.filters);
  const int64_t depth = p.depth();
  parallel_for(ceil_div(depth, kLanes<T>), item_grain(2 * kLanes<T> * p.filters), [&](int64_t begin, int64_t end) {
    for (int64_t k = 0; k < p.filters; k += kLanes<T>) {
      const int64_t panel = panels.holding(k);
      const int64_t width = panels.width(panel), rows = std::min<int64_t>(kLanes<T>, p.filters - k);
      T* const out = packed + panels.first(panel) * depth + (k - panels.first(panel));
      const int64_t first = begin * kLanes<T>, last = std::min(depth, end * kLanes<T>);
      for (int64_t d = first; rows < kLanes<T> && d < last; ++d) store(Vector<T>{}, out + d * width);
      transpose_matrix(rows, last - first, w + k * depth + first, depth, out + first * width, width);
    }
  });
}

/// How the work is cut. Nothing of it changes the results.
template <class T>
struct Cut {
  static constexpr int64_t kPatchBytes = 1 << 17, kMostPositions = 24 * kTileRows, kMostDepth = 1024;

  Cut(const Problem& p, const Conv2dGeometry& g) : slots(g.threads), is_prepared(g.is_prepared) {
    const int64_t all = p.positions(), bytes = static_cast<int64_t>(sizeof(T));
    // Few positions: all threads share the patches, and each takes some filters.
    by_filters = all * p.depth() * bytes <= kSharedBytes && all < 2 * slots * kMostPositions && p.filters > kLanes<T>;
    // Whole stretches of multiply(): sums do not depend on the cut.
    depth = by_filters ? p.depth() : std::min(p.depth(), kMostDepth);
    const int64_t most = by_filters ? all
                                    : std::clamp(round_up(kPatchBytes / (depth * bytes), kTileRows),
                                                 int64_t{2 * kTileRows}, kMostPositions);
    const int64_t blocks = ceil_div(ceil_div(all, most), slots) * slots;  // as many for each thread
    positions = by_filters ? all : round_up(ceil_div(all, blocks), kTileRows);
    filters = by_filters || depth == p.depth() ? kTileCols<T> : round_up(p.filters, kLanes<T>);
  }
  static constexpr int64_t kSharedBytes = 3 << 20;

  int slots;
  bool is_prepared, by_filters;
  int64_t depth;      // that patches are packed for at a time
  int64_t positions;  // of a block
  int64_t filters;    // whose sums are kept at a time

  int64_t patch_values() const { return round_up(positions, kTileRows) * depth; }
  int64_t sum_values() const { return round_up(positions, kTileRows) * filters; }
  int64_t line_values() const { return round_up(positions, kLanes<T>) + kLanes<T>; }
  int64_t slot_values() const { return round_up((by_filters ? 0 : patch_values()) + sum_values() + line_values(), 16); }
  int64_t values(const Problem& p) const {
    return (is_prepared ? 0 : round_up(packed_values<T>(p), 16)) + (by_filters ? round_up(patch_values(), 16) : 0) +
           slots * slot_values();
  }
};

/// line[i] = the value that tap (r, s) of a channel meets at position first + i. Whole vectors are read where that
/// stays before `last`, and written over what comes next or the room behind the line.
template <class T>
void gather_line(const Problem& p, const T* channel, const T* last, int64_t image_step, int64_t r, int64_t s,
                 int64_t first, int64_t count, T* line) {
  const InsideRange inside = inside_range(p.w, s * p.w.dilation);
  const int64_t shift = s * p.w.dilation - p.w.pad_before, width = p.w.output;
  int64_t ow = first % width, oh = first / width % p.h.output, image = first / width / p.h.output;
  for (int64_t at = 0; at < count;) {
    const int64_t length = std::min(width - ow, count - at), ih = p.h.start(oh) + r * p.h.dilation;
    T* const out = line + at - ow;  // indexed by ow
    const int64_t stop = ow + length;
    const bool row_inside = ih >= 0 && ih < p.h.input;
    const int64_t from = row_inside ? std::clamp(inside.first, ow, stop) : stop;
    const int64_t to = row_inside ? std::clamp(inside.last, from, stop) : stop;
    const T* in = channel + image * image_step + (row_inside ? ih * p.w.input : 0) + shift;
    if (p.w.stride == 1 && in + round_up(to - from, kLanes<T>) + from <= last) {
      for (int64_t j = from; j < to; j += kLanes<T>) store(load(in + j), out + j);
    } else {
      for (int64_t j = from; j < to; ++j) out[j] = in[j * p.w.stride];
    }
    for (int64_t j = ow; j < from; ++j) out[j] = T(0);
    for (int64_t j = to; j < stop; ++j) out[j] = T(0);
    at += length;
    ow = 0;
    if (++oh == p.h.output) oh = 0, ++image;
  }
}

/// patches[tile of positions][depth][position of the tile] for the depths [begin, end) of a block that is packed for
/// the depths from `base` on, `depth` of them. The last tile has what positions are left.
template <class T>
void pack_patches(const Problem& p, const T* x, int64_t first, int64_t count, int64_t base, int64_t depth,
                  int64_t begin, int64_t end, T* line, T* patches) {
  const int64_t taps = p.taps(), image_step = p.groups * p.channels * p.in_plane();
  const T* const last = x + (p.images - 1) * image_step + p.channels * p.in_plane();
  for (int64_t d = begin; d < end; ++d) {
    const int64_t c = d / taps, tap = d % taps;
    gather_line(p, x + c * p.in_plane(), last, image_step, tap / p.w.kernel, tap % p.w.kernel, first, count, line);
    T* to = patches + (d - base) * kTileRows;
    int64_t at = 0;
    for (; at + kTileRows <= count; at += kTileRows, to += depth * kTileRows) {
      std::memcpy(to, line + at, kTileRows * sizeof(T));
    }
    const int64_t rest = count - at;
    to = patches + at * depth + (d - base) * rest;
    for (int64_t i = 0; i < rest; ++i) to[i] = line[at + i];
  }
}

/// Writes the outputs of positions [first, first + count) and of `filters` filters from sums[position][ld].
template <class T>
void write_outputs(const Problem& p, int64_t first, int64_t count, int64_t filters, const T* sums, int64_t ld,
                   const ConvEpilogue<T>& epilogue, T* y) {
  const int64_t plane = p.out_plane(), image_step = p.groups * p.filters * plane;
  for (int64_t at = 0; at < count;) {
    const int64_t image = (first + at) / plane, begin = (first + at) % plane;
    const int64_t length = std::min(plane - begin, count - at), to = image * image_step;
    write_transposed(sums + at * ld, ld, filters, begin, length, plane, epilogue.at(0, to), y + to);
    at += length;
  }
}

/// sums[position][filter of the panel] (=|+=) patches * weights of a panel. All tiles take one stretch of the depth
/// after the other, so that its weights stay in the first-level cache.
template <class T>
void multiply(int64_t count, int64_t depth, int64_t width, const T* patches, const T* weights, bool add, T* sums,
              int64_t ld) {
  for (int64_t d = 0; d < depth; d += kSumDepth, add = true) {
    const int64_t stretch = std::min(kSumDepth, depth - d);
    for (int64_t at = 0; at < count; at += kTileRows) {
      const int64_t rows = std::min<int64_t>(kTileRows, count - at);
      find_gemm_tile<T>(rows, width, add)(stretch, patches + at * depth + d * rows, rows, weights + d * width, width,
                                          sums + at * ld, ld);
    }
  }
}

template <class T>
void run_group(const Problem& p, const Cut<T>& cut, const T* x, const T* weights, const ConvEpilogue<T>& epilogue, T* y,
               T* workspace) {
  const Panels<T> panels(p.filters);
  const int64_t all = p.positions(), depth = p.depth(), plane = p.out_plane();
  const auto finish = [&](int64_t panel, int64_t first, int64_t count, const T* sums, int64_t ld) {
    const int64_t k = panels.first(panel);
    write_outputs(p, first, count, std::min(panels.width(panel), p.filters - k), sums, ld, epilogue.at(k, k * plane),
                  y + k * plane);
  };
  if (cut.by_filters) {
    T* const shared = workspace;
    T* const slots = shared + round_up(cut.patch_values(), 16);
    const int64_t parts = std::min<int64_t>(depth, 2 * cut.slots), run = ceil_div(depth, parts);
    parallel_slots(ceil_div(depth, run), cut.slots, [&](int64_t part, int slot) {
      T* const line = slots + slot * cut.slot_values() + cut.sum_values();
      pack_patches(p, x, 0, all, 0, depth, part * run, std::min(depth, (part + 1) * run), line, shared);
    });
    parallel_slots(panels.count, cut.slots, [&](int64_t panel, int slot) {
      T* const sums = slots + slot * cut.slot_values();
      const int64_t width = panels.width(panel);
      multiply(all, depth, width, shared, weights + panels.first(panel) * depth, false, sums, width);
      finish(panel, 0, all, sums, width);
    });
    return;
  }
  parallel_slots(ceil_div(all, cut.positions), cut.slots, [&](int64_t block, int slot) {
    T* const patches = workspace + slot * cut.slot_values();
    T* const sums = patches + cut.patch_values();
    T* const line = sums + cut.sum_values();
    const int64_t first = block * cut.positions, count = std::min(cut.positions, all - first);
    const bool in_one = cut.depth == depth;
    for (int64_t base = 0; base < depth; base += cut.depth) {
      const int64_t length = std::min(cut.depth, depth - base);
      pack_patches(p, x, first, count, base, length, base, base + length, line, patches);
      for (int64_t panel = 0; panel < panels.count; ++panel) {
        const int64_t k = panels.first(panel), width = panels.width(panel);
        T* const to = in_one ? sums : sums + k * cut.positions;
        multiply(count, length, width, patches, weights + k * depth + base * width, base > 0, to, width);
        if (base + length == depth) finish(panel, first, count, to, width);
      }
    }
  });
}

template <class T>
void run(const Conv2dGeometry& g, const Problem& p, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y,
         void* workspace) {
  const Cut<T> cut(p, g);
  const int64_t weights = g.is_prepared ? packed_values<T>(p) : g.group_out() * g.filter_size();
  for (int64_t group = 0; group < g.groups; ++group) {
    T* rest = static_cast<T*>(workspace);
    const T* packed = w + group * weights;
    if (!g.is_prepared) {
      pack_weights(p, packed, rest);
      packed = rest;
      rest += round_up(packed_values<T>(p), 16);
    }
    const int64_t first = group * p.filters;
    run_group(p, cut, x + group * p.channels * p.in_plane(), packed, epilogue.at(first, first * p.out_plane()),
              y + first * p.out_plane(), rest);
  }
}

template <class T>
void forward(const Conv2dGeometry& g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y, void* workspace) {
  run(g, make_problem(g), x, w, epilogue, y, workspace);
}

template <class T>
void backward_weight(const Conv2dGeometry& g, const T* x, const T* gy, T* gw, void* workspace) {
  WeightGemm<T>(g).run(x, gy, gw, static_cast<T*>(workspace));
}

template <class T>
int64_t prepared_values(const Conv2dGeometry& g) {
  return g.groups * packed_values<T>(make_problem(g));
}

template <class T>
void prepare(const Conv2dGeometry& g, const T* w, T* prepared) {
  const Problem p = make_problem(g);
  for (int64_t group = 0; group < g.groups; ++group) {
    pack_weights(p, w + group * g.group_out() * g.filter_size(), prepared + group * packed_values<T>(p));
  }
}

// ---- The table

/// BLAS is as fast for the weight's gradient of 1x1 kernels.
bool accepts(const Conv2dGeometry& g, ConvPass pass) {
  if (pass == ConvPass::kBackwardInput || g.output_plane() == 0 || g.batch == 0) return false;
  return pass == ConvPass::kForward || (!g.is_pointwise() && is_worth_copying(padded_input(g)));
}

/// Measured: the share of the full speed that the inner kernel reaches, and how long packing a value of a patch, a row
/// of patches and a weight, and writing a sum take, in multiply-adds.
double cost(const Conv2dGeometry& g, ConvPass pass) {
  if (pass == ConvPass::kBackwardWeight) return WeightGemm<float>(g).cost();
  constexpr double kSpeed = 0.85, kPatch = 30, kRow = 700, kWeight = 40, kSum = 30;
  const Problem p = make_problem(g);
  const auto positions = static_cast<double>(p.positions()), depth = static_cast<double>(p.depth());
  const auto filters = static_cast<double>(round_up(p.filters, kLanes<float>));
  const double patch = kPatch + kRow / static_cast<double>(p.w.output);
  const double weights = g.is_prepared ? 0 : kWeight * depth * filters;
  return static_cast<double>(g.groups) *
         (positions * (depth * filters / kSpeed + patch * depth + kSum * filters) + weights);
}

template <class T>
int64_t workspace_bytes(const Conv2dGeometry& g, ConvPass pass) {
  const Problem p = make_problem(g);
  const int64_t values =
      pass == ConvPass::kBackwardWeight ? WeightGemm<T>(g).workspace_values() : Cut<T>(p, g).values(p);
  return values * static_cast<int64_t>(sizeof(T));
}

template <class T>
constexpr ImplicitGemmConv2d<T> kTable{{"implicit_gemm", accepts, cost, workspace_bytes<T>, prepared_values<T>,
                                        prepare<T>, forward<T>, nullptr, backward_weight<T>, conv2d_bias_gradient<T>}};

}  // namespace

template <>
const ImplicitGemmConv2d<float>& table() {
  return kTable<float>;
}
template <>
const ImplicitGemmConv2d<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
