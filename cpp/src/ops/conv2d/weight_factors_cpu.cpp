// The factors of a weight's gradient: transposes of the output's gradient and of im2col columns, a run of channels at a
// time.
#include "ops/conv2d/weight_factors.h"

#include "kernels.h"
#include "ops/conv2d/padded.h"
#include "ops/transpose_matrix.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

constexpr int64_t kRun = 16;  // channels: what fills vectors of patches

/// One run's columns, (channels * R * S) rows of `step` values, and a padded plane.
template <class T>
struct Columns {
  explicit Columns(const Conv2dGeometry& g) : padded(padded_input(g)) {
    step = round_up(g.output_plane(), kLanes<T>);
    values = round_up(std::min(kRun, g.in_channels) * g.h.kernel * g.w.kernel * step + kLanes<T>, 16);
  }
  Padded padded;
  int64_t step, values;

  int64_t slot_values() const { return values + padded.plane(); }

  /// Whole vectors are copied: what goes too far is overwritten by the next row.
  void fill(const Conv2dGeometry& g, int64_t channels, const T* x, T* col, T* plane) const {
    for (int64_t c = 0; c < channels; ++c, x += g.input_plane()) {
      copy_padded(padded, x, plane);
      for (int64_t r = 0; r < g.h.kernel; ++r) {
        for (int64_t s = 0; s < g.w.kernel; ++s, col += step) {
          const T* from = plane + padded.offset(r * g.h.dilation, s * g.w.dilation);
          for (int64_t oh = 0; oh < g.h.output; ++oh) {
            for (int64_t ow = 0; ow < g.w.output; ow += kLanes<T>) {
              store(load(from + oh * padded.pitch + ow), col + oh * g.w.output + ow);
            }
          }
        }
      }
    }
  }
};

template <class T>
int64_t workspace_bytes(const Conv2dGeometry& g) {
  return g.is_pointwise() ? 0 : g.threads * Columns<T>(g).slot_values() * static_cast<int64_t>(sizeof(T));
}

template <class T>
void factors(const Conv2dGeometry& g, const T* x, const T* gy, T* left, T* right, void* workspace) {
  const Columns<T> columns(g);
  const int64_t taps = g.h.kernel * g.w.kernel, plane = g.output_plane(), filter = g.filter_size();
  const int64_t in_runs = ceil_div(g.in_channels, kRun), out_runs = ceil_div(g.out_channels, kRun);
  parallel_slots(g.batch * (in_runs + out_runs), g.threads, [&](int64_t task, int slot) {
    const int64_t n = task / (in_runs + out_runs), run = task % (in_runs + out_runs);
    if (run >= in_runs) {
      const int64_t k = (run - in_runs) * kRun;
      transpose_matrix(std::min(kRun, g.out_channels - k), plane, gy + (n * g.out_channels + k) * plane, plane,
                       left + n * plane * g.out_channels + k, g.out_channels);
      return;
    }
    const int64_t c = run * kRun, channels = std::min(kRun, g.in_channels - c);
    const T* const image = x + (n * g.in_channels + c) * g.input_plane();
    T* const to = right + n * plane * filter + c * taps;
    if (g.is_pointwise()) return transpose_matrix(channels, plane, image, plane, to, filter);
    T* const col = static_cast<T*>(workspace) + slot * columns.slot_values();
    columns.fill(g, channels, image, col, col + columns.values);
    transpose_matrix(channels * taps, plane, col, columns.step, to, filter);
  });
}

template <class T>
constexpr WeightFactorsKernels<T> kTable{workspace_bytes<T>, factors<T>};

}  // namespace

template <>
const WeightFactorsKernels<float>& table() {
  return kTable<float>;
}
template <>
const WeightFactorsKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
