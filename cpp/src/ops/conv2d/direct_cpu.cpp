// Direct convolution over padded copies (padded.h): no im2col matrix, the filter taps are offsets into the copy.
//
// Forward is one sweep of the filters over the images. The gradient of the input is a sweep of the transposed filters
// over the output's gradient, one for each phase of the stride. The gradient of the weight is a dot product of two
// shifted rows for each weight. Images are taken in groups whose copies fit kCopyBytes; groups are cut by geometry
// alone.
#include <span>

#include "kernels.h"
#include "ops/conv2d/bias.h"
#include "ops/conv2d/sweep.h"
#include "rounding.h"

namespace cnnx::CNNX_ISA {
namespace {

constexpr int64_t kCopyBytes = 1 << 22;

/// Images whose copies of `values` each are made at a time.
template <class T>
int64_t images_at_once(const Conv2dGeometry& g, int64_t values) {
  return std::clamp<int64_t>(kCopyBytes / (std::max<int64_t>(1, values) * static_cast<int64_t>(sizeof(T))), 1,
                             std::max<int64_t>(1, g.batch));
}

Sweep forward_sweep(const Conv2dGeometry& g) {
  Sweep s;
  s.source = padded_input(g);
  s.channels = g.group_in();
  s.filters = g.group_out();
  s.filter_stride = g.filter_size();
  s.channel_stride = g.h.kernel * g.w.kernel;
  const auto taps = static_cast<size_t>(g.h.kernel * g.w.kernel);
  s.taps.reserve(taps), s.tap_indices.reserve(taps);
  for (int64_t r = 0; r < g.h.kernel; ++r) {
    for (int64_t c = 0; c < g.w.kernel; ++c) {
      s.taps.push_back(s.source.offset(r * g.h.dilation, c * g.w.dilation));
      s.tap_indices.push_back(r * g.w.kernel + c);
    }
  }
  s.rows = g.h.output;
  s.cols = s.row_step = g.w.output;
  s.dest_plane = g.output_plane();
  return s;
}

/// Input positions i of one axis with (i + pad) % stride == phase: i = (first + n) * stride + phase - pad, n < count. A
/// tap at distance d of that phase meets output first + n - (d - phase) / stride.
struct AxisPhase {
  AxisPhase(const WindowAxis& axis, int64_t phase_number) : phase(phase_number) {
    const auto steps = [&](int64_t value) { return value <= 0 ? 0 : ceil_div(value, axis.stride); };
    first = steps(axis.pad_before - phase);
    count = std::max<int64_t>(0, steps(axis.input + axis.pad_before - phase) - first);
    start = first * axis.stride + phase - axis.pad_before;
    for (int64_t k = 0; k < axis.kernel; ++k) {
      const int64_t distance = k * axis.dilation;
      if (distance % axis.stride == phase) taps.emplace_back(k, (distance - phase) / axis.stride);
    }
  }
  int64_t phase, first = 0, count = 0, start = 0;
  std::vector<std::pair<int64_t, int64_t>> taps;  // (place in the filter, shift in outputs)

  int64_t largest_shift() const { return taps.empty() ? 0 : taps.back().second; }
};

std::vector<AxisPhase> axis_phases(const WindowAxis& axis) {
  std::vector<AxisPhase> phases;
  for (int64_t phase = 0; phase < axis.stride; ++phase) phases.emplace_back(axis, phase);
  return phases;
}

/// The sweeps whose outputs together are the gradient of the input; all use the same padded copy of gy.
std::vector<Sweep> input_sweeps(const Conv2dGeometry& g) {
  const std::vector<AxisPhase> rows = axis_phases(g.h), cols = axis_phases(g.w);
  Padded p{g.h.output, g.w.output};
  for (const AxisPhase& a : rows) p.pad_top = std::max(p.pad_top, a.largest_shift() - a.first);
  for (const AxisPhase& a : cols) p.pad_left = std::max(p.pad_left, a.largest_shift() - a.first);
  for (const AxisPhase& a : rows) p.phase_rows = std::max(p.phase_rows, a.first + a.count + p.pad_top);
  for (const AxisPhase& a : cols) p.pitch = std::max(p.pitch, a.first + a.count + p.pad_left);
  std::vector<Sweep> sweeps;
  for (const AxisPhase& row : rows) {
    for (const AxisPhase& col : cols) {
      Sweep s;
      s.source = p;
      s.channels = g.group_out();
      s.filters = g.group_in();
      s.filter_stride = g.h.kernel * g.w.kernel;
      s.channel_stride = g.filter_size();
      for (const auto& [r, down] : row.taps) {
        for (const auto& [c, right] : col.taps) {
          s.taps.push_back((row.first - down + p.pad_top) * p.pitch + col.first - right + p.pad_left);
          s.tap_indices.push_back(r * g.w.kernel + c);
        }
      }
      s.rows = row.count;
      s.cols = col.count;
      s.first = row.start * g.w.input + col.start;
      s.row_step = g.h.stride * g.w.input;
      s.col_step = g.w.stride;
      s.dest_plane = g.input_plane();
      sweeps.push_back(std::move(s));
    }
  }
  return sweeps;
}

template <class T>
constexpr int64_t kReadPast = kTileVectors * kLanes<T>;  // values that the last tile reads behind the last plane

/// Copies the planes of `count` images, then zeros behind them.
template <class T>
void copy_planes(const Padded& p, int64_t planes, const T* from, T* to) {
  parallel_for(planes, item_grain(p.plane() * 2), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) copy_padded(p, from + i * p.rows * p.cols, to + i * p.plane());
  });
  std::fill(to + planes * p.plane(), to + planes * p.plane() + kReadPast<T>, T(0));
}

template <class T>
void pack_weights(const Sweep& s, int64_t groups, const T* w, T* packed) {
  const int64_t kernel = std::min(s.filter_stride, s.channel_stride);  // R * S
  const int64_t panels = s.panels(), weights = s.filters * s.channels * kernel;
  parallel_for(groups * panels, item_grain(s.packed_values() / std::max<int64_t>(1, panels)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   const int64_t group = i / panels;
                   pack_panel(s, w + group * weights, i % panels, packed + group * s.packed_values());
                 }
               });
}

// ---- The gradient of the weight

constexpr int kDotFilters = kVectorRegisters == 32 ? 4 : 3;
constexpr int kDotTaps = kVectorRegisters == 32 ? 6 : 4;

/// What the gradient of the weight needs: padded images, and output gradients at the same pitch with zeros between
/// rows.
template <class T>
struct WeightPlan {
  explicit WeightPlan(const Conv2dGeometry& g) : sweep(forward_sweep(g)) {
    row = round_up(sweep.positions(), kLanes<T>);
    image_values = g.in_channels * sweep.source.plane() + g.out_channels * row;
    images = images_at_once<T>(g, image_values);
    depth = sweep.channels * static_cast<int64_t>(sweep.taps.size());
    filter_runs = ceil_div(g.group_out(), kFilterRun);
    tap_runs = ceil_div(depth, kTapRun);
    parts = std::clamp<int64_t>(kEnoughTasks / (g.groups * filter_runs * tap_runs), 1, images);
  }
  static constexpr int64_t kFilterRun = 8 * kDotFilters, kTapRun = 4 * kDotTaps, kEnoughTasks = 16;

  int64_t workspace_values(const Conv2dGeometry& g) const {
    return images * image_values + 2 * kReadPast<T> + (parts > 1 ? parts * g.out_channels * depth : 0);
  }

  Sweep sweep;
  int64_t row;           // values of one filter's gradient
  int64_t image_values;  // of one image's copies
  int64_t images;        // at a time
  int64_t depth;         // weights of a filter
  int64_t filter_runs, tap_runs, parts;
};

/// Spreads one plane of gy to the pitch of the padded images.
template <class T>
void spread_rows(const Sweep& s, const T* from, T* to, int64_t row) {
  std::fill(to, to + row, T(0));
  for (int64_t i = 0; i < s.rows; ++i) std::copy(from + i * s.cols, from + (i + 1) * s.cols, to + i * s.source.pitch);
}

/// out[k * ld + j] (=|+=) sum over images and positions of gy[k] * x[offsets[j]].
template <class T, int kFilters, int kTaps>
void dot_tile(int64_t images, int64_t row, const T* gy, int64_t gy_image, const T* x, int64_t x_image,
              const int64_t* offsets, T* out, int64_t ld, bool add) {
  Vector<T> acc[kFilters][kTaps] = {};
  for (int64_t n = 0; n < images; ++n, gy += gy_image, x += x_image) {
    for (int64_t p = 0; p < row; p += kLanes<T>) {
      Vector<T> g[kFilters];
      for (int k = 0; k < kFilters; ++k) g[k] = load(gy + k * row + p);
#pragma GCC unroll 8
      for (int j = 0; j < kTaps; ++j) {
        const Vector<T> v = load(x + offsets[j] + p);
        for (int k = 0; k < kFilters; ++k) acc[k][j] += g[k] * v;
      }
    }
  }
  for (int k = 0; k < kFilters; ++k) {
    for (int j = 0; j < kTaps; ++j) {
      const T sum = sum_lanes<T>(acc[k][j]);
      out[k * ld + j] = add ? out[k * ld + j] + sum : sum;
    }
  }
}

template <class T>
using DotFn = void (*)(int64_t, int64_t, const T*, int64_t, const T*, int64_t, const int64_t*, T*, int64_t, bool);
template <class T, int... kIndex>
constexpr std::array<DotFn<T>, sizeof...(kIndex)> make_dots(std::integer_sequence<int, kIndex...>) {
  return {dot_tile<T, kIndex / kDotTaps + 1, kIndex % kDotTaps + 1>...};
}
template <class T>
constexpr auto kDots = make_dots<T>(std::make_integer_sequence<int, kDotFilters * kDotTaps>());

/// The products of a run of filters and a run of taps over some images.
template <class T>
void weight_task(const Conv2dGeometry& g, const WeightPlan<T>& plan, int64_t group, int64_t filter_run, int64_t tap_run,
                 int64_t images, const T* gy, const T* x, T* out, bool add) {
  const Sweep& s = plan.sweep;
  const auto taps = static_cast<int64_t>(s.taps.size());
  const int64_t last_filter = std::min(g.group_out(), (filter_run + 1) * plan.kFilterRun);
  const int64_t last_tap = std::min(plan.depth, (tap_run + 1) * plan.kTapRun);
  for (int64_t j = tap_run * plan.kTapRun; j < last_tap; j += kDotTaps) {
    const int64_t tap_width = std::min<int64_t>(kDotTaps, last_tap - j);
    int64_t offsets[kDotTaps];
    for (int64_t i = 0; i < tap_width; ++i) {
      offsets[i] =
          (group * s.channels + (j + i) / taps) * s.source.plane() + s.taps[static_cast<size_t>((j + i) % taps)];
    }
    for (int64_t k = filter_run * plan.kFilterRun; k < last_filter; k += kDotFilters) {
      const int64_t width = std::min<int64_t>(kDotFilters, last_filter - k), filter = group * g.group_out() + k;
      kDots<T>[static_cast<size_t>((width - 1) * kDotTaps + tap_width - 1)](
          images, plan.row, gy + filter* plan.row, g.out_channels* plan.row, x, g.in_channels* s.source.plane(),
          offsets, out + filter* plan.depth + j, plan.depth, add);
    }
  }
}

// ---- The table

/// Not where outputs that are dropped, padding, or phases of the stride would take most of the time.
bool accepts(const Conv2dGeometry& g, ConvPass pass) {
  if (g.output_plane() == 0 || !is_worth_copying(padded_input(g))) return false;
  const bool has_few_phases = g.h.stride * g.w.stride <= 16 * (g.input_plane() + 64);
  return forward_sweep(g).positions() <= 3 * g.output_plane() && (pass != ConvPass::kBackwardInput || has_few_phases);
}

/// Measured: how long copying a value takes, more where a stride picks it, packing a weight, writing a row of sums, and
/// adding up a vector's lanes, in multiply-adds; and the share of the full speed that the loops reach, less with few
/// taps a channel. What is computed between the rows and dropped counts.
double cost(const Conv2dGeometry& g, ConvPass pass) {
  constexpr double kCopy = 20, kStridedCopy = 60, kSpread = 60, kWeight = 50, kRow = 400, kLaneSum = 170;
  constexpr double kSweepSpeed = 0.9, kDotSpeed = 0.85, kFewTaps = 0.8;
  const auto count = [](auto... factors) { return (1.0 * ... * static_cast<double>(factors)); };
  const std::vector<Sweep> sweeps =
      pass == ConvPass::kBackwardInput ? input_sweeps(g) : std::vector<Sweep>{forward_sweep(g)};
  double products = 0, rows = 0;
  for (const Sweep& s : sweeps) {
    products += count(s.positions(), s.filters, s.channels) * (static_cast<double>(s.taps.size()) + kFewTaps);
    rows += count(s.rows, s.filters);
  }
  const Padded& p = sweeps.front().source;
  const double copies =
      (p.stride_h * p.stride_w > 1 ? kStridedCopy : kCopy) * count(sweeps.front().channels, p.plane());
  const double weights = count(g.group_out(), g.filter_size());
  double image = products / kSweepSpeed + kRow * rows + copies, once = g.is_prepared ? 0 : kWeight * weights;
  if (pass == ConvPass::kBackwardWeight) {
    image = products / kDotSpeed + copies + kSpread * count(g.group_out(), g.output_plane());
    once = kLaneSum * weights;
  }
  return (image * static_cast<double>(g.batch) + once) * static_cast<double>(g.groups);
}

/// Values of the weights and the copies of a sweep.
template <class T>
int64_t sweep_values(const Conv2dGeometry& g, int64_t planes, const Padded& p) {
  const int64_t image = planes * p.plane();
  return round_up(g.out_channels * g.filter_size(), 16) + images_at_once<T>(g, image) * image + kReadPast<T>;
}

template <class T>
int64_t workspace_bytes(const Conv2dGeometry& g, ConvPass pass) {
  int64_t values = 0;
  if (pass == ConvPass::kBackwardWeight) {
    values = WeightPlan<T>(g).workspace_values(g);
  } else if (pass == ConvPass::kBackwardInput) {
    values = sweep_values<T>(g, g.out_channels, input_sweeps(g).front().source);
  } else {
    const Padded p = padded_input(g);
    values = sweep_values<T>(g, g.in_channels, p) + g.threads * PooledBands<T>(g.h.output, p.pitch).values();
  }
  return values * static_cast<int64_t>(sizeof(T));
}

int64_t prepared_values(const Conv2dGeometry& g) { return g.out_channels * g.filter_size(); }

template <class T>
void prepare(const Conv2dGeometry& g, const T* w, T* prepared) {
  pack_weights(forward_sweep(g), g.groups, w, prepared);
}

/// Calls run(sweep, first image, images, their padded planes, packed weights) for one sweep after the other over all
/// images; `in` are the planes that are copied.
template <class T, class F>
void for_each_sweep(const Conv2dGeometry& g, std::span<const Sweep> sweeps, const T* in, const T* w, void* workspace,
                    const F& run) {
  const Padded& p = sweeps.front().source;
  const int64_t planes = sweeps.front().channels * g.groups;
  const int64_t images = images_at_once<T>(g, planes * p.plane());
  T* const packed = static_cast<T*>(workspace);
  T* const copies = packed + round_up(g.out_channels * g.filter_size(), 16);
  T* to = packed;
  for (const Sweep& s : sweeps) {
    if (g.is_prepared) break;
    pack_weights(s, g.groups, w, to);
    to += g.groups * s.packed_values();
  }
  for (int64_t n = 0; n < g.batch; n += images) {
    const int64_t count = std::min(images, g.batch - n);
    copy_planes(p, count * planes, in + n * planes * p.rows * p.cols, copies);
    const T* weights = g.is_prepared ? w : packed;
    for (const Sweep& s : sweeps) {
      run(s, n, count, copies, weights);
      weights += g.groups * s.packed_values();
    }
  }
}

template <class T>
void forward(const Conv2dGeometry& g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y, void* workspace) {
  const int64_t image = g.out_channels * g.output_plane();
  const Sweep sweep = forward_sweep(g);
  for_each_sweep(g, std::span(&sweep, 1), x, w, workspace,
                 [&](const Sweep& s, int64_t n, int64_t count, const T* padded, const T* packed) {
                   run_sweep(s, count * g.groups, g.groups, padded, packed, epilogue.at(0, n * image), y + n * image);
                 });
}

template <class T>
void forward_pooled(const Conv2dGeometry& g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y,
                    uint8_t* switches, void* workspace) {
  const Sweep sweep = forward_sweep(g);
  T* const sums = static_cast<T*>(workspace) + sweep_values<T>(g, g.in_channels, sweep.source);
  const int64_t image = g.out_channels * (g.h.output / 2) * (g.w.output / 2);
  for_each_sweep(g, std::span(&sweep, 1), x, w, workspace,
                 [&](const Sweep& s, int64_t n, int64_t count, const T* padded, const T* packed) {
                   const auto run = switches ? run_pooled_sweep<true, T> : run_pooled_sweep<false, T>;
                   run(s, count * g.groups, g.groups, padded, packed, epilogue, y + n * image,
                       switches ? switches + n * image : nullptr, sums, g.threads);
                 });
}

template <class T>
void backward_input(const Conv2dGeometry& g, const T* gy, const T* w, T* gx, void* workspace) {
  const int64_t image = g.in_channels * g.input_plane();
  const std::vector<Sweep> sweeps = input_sweeps(g);
  for_each_sweep(g, std::span(sweeps), gy, w, workspace,
                 [&](const Sweep& s, int64_t n, int64_t count, const T* padded, const T* packed) {
                   run_sweep(s, count * g.groups, g.groups, padded, packed, {}, gx + n * image);
                 });
}

template <class T>
void backward_weight(const Conv2dGeometry& g, const T* x, const T* gy, T* gw, void* workspace) {
  const WeightPlan<T> plan(g);
  const Padded& p = plan.sweep.source;
  const int64_t weights = g.out_channels * plan.depth;
  T* const padded = static_cast<T*>(workspace);
  T* const spread = padded + plan.images * g.in_channels * p.plane() + kReadPast<T>;
  T* const sums = spread + plan.images * g.out_channels * plan.row + kReadPast<T>;
  if (g.batch == 0) std::fill(gw, gw + weights, T(0));
  for (int64_t n = 0; n < g.batch; n += plan.images) {
    const int64_t count = std::min(plan.images, g.batch - n), run = ceil_div(count, plan.parts);
    copy_planes(p, count * g.in_channels, x + n * g.in_channels * g.input_plane(), padded);
    parallel_for(count * g.out_channels, item_grain(plan.row * 2), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        spread_rows(plan.sweep, gy + (n * g.out_channels + i) * g.output_plane(), spread + i * plan.row, plan.row);
      }
    });
    const int64_t parts = ceil_div(count, run), tasks = g.groups * plan.filter_runs * plan.tap_runs;
    parallel_for(parts * tasks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t part = i / tasks, task = i % tasks, first = part * run;
        weight_task(g, plan, task / plan.tap_runs / plan.filter_runs, task / plan.tap_runs % plan.filter_runs,
                    task % plan.tap_runs, std::min(run, count - first), spread + first * g.out_channels * plan.row,
                    padded + first * g.in_channels * p.plane(), parts > 1 ? sums + part * weights : gw,
                    parts == 1 && n > 0);
      }
    });
    if (parts == 1) continue;
    parallel_for(weights, item_grain(parts), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        T sum = n > 0 ? gw[i] : T(0);
        for (int64_t part = 0; part < parts; ++part) sum += sums[part * weights + i];
        gw[i] = sum;
      }
    });
  }
}

template <class T>
constexpr DirectConv2d<T> kTable{{"direct", accepts, cost, workspace_bytes<T>, prepared_values, prepare<T>, forward<T>,
                                  backward_input<T>, backward_weight<T>, conv2d_bias_gradient<T>, forward_pooled<T>}};

}  // namespace

template <>
const DirectConv2d<float>& table() {
  return kTable<float>;
}
template <>
const DirectConv2d<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
