// The gradient of the weight as an implicit GEMM: gw (K, C * R * S) = gy (K, positions) times patches (positions,
// C * R * S), which are made for a run of channels and a block of positions at a time.
#pragma once

#include "ops/conv2d/panels.h"
#include "ops/conv2d/patch_rows.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {

template <class T>
class WeightGemm {
 public:
  explicit WeightGemm(const Conv2dGeometry& g)
      : g_(g), taps_(g.h.kernel * g.w.kernel), run_(channel_run(g)), patches_(g, run_, kPositions) {
    cols_ = round_up(run_ * taps_, kLanes<T>);
    filters_ = std::min(kFilters, g.group_out());
    in_runs_ = ceil_div(g.group_in(), run_);
    out_runs_ = ceil_div(g.group_out(), filters_);
    const int64_t tasks = g.groups * in_runs_ * out_runs_;
    units_ = g.batch * patches_.blocks();
    share_ = ceil_div(units_, std::clamp<int64_t>(kEnoughTasks / tasks, 1, std::max<int64_t>(1, units_)));
    parts_ = ceil_div(units_, share_);
  }

  int64_t workspace_values() const { return part_values() * (parts_ > 1 ? parts_ : 0) + g_.threads * slot_values(); }

  /// Measured: the share of the full speed that the products reach, and how long making a value of a patch, and
  /// fetching and writing a sum once a block, take, in multiply-adds.
  double cost() const {
    constexpr double kSpeed = 0.85, kPatch = 20, kSum = 12;
    const auto positions = static_cast<double>(g_.batch * g_.output_plane()),
               filters = static_cast<double>(g_.group_out());
    const auto blocks = static_cast<double>(units_ + parts_), runs = static_cast<double>(out_runs_);
    const double cols = static_cast<double>(g_.groups * in_runs_ * cols_);
    return cols * (positions * (filters / kSpeed + kPatch * runs) + kSum * blocks * filters);
  }

  void run(const T* x, const T* gy, T* gw, T* workspace) const {
    T* const slots = workspace + (parts_ > 1 ? parts_ * part_values() : 0);
    const int64_t tasks = g_.groups * in_runs_ * out_runs_;
    parallel_slots(parts_ * tasks, g_.threads, [&](int64_t i, int slot) {
      const int64_t part = i / tasks;
      run_task(i % tasks, part * share_, std::min(units_, (part + 1) * share_), x, gy,
               parts_ > 1 ? workspace + part * part_values() : gw, slots + slot * slot_values());
    });
    if (parts_ == 1) return;
    const int64_t weights = g_.out_channels * g_.filter_size();
    parallel_for(weights, item_grain(parts_), [&](int64_t begin, int64_t end) {
      std::copy(workspace + begin, workspace + end, gw + begin);
      for (int64_t part = 1; part < parts_; ++part) {
        const T* from = workspace + part * part_values();
        for (int64_t j = begin; j < end; ++j) gw[j] += from[j];
      }
    });
  }

 private:
  static constexpr int64_t kPositions = 256, kFilters = 256, kEnoughTasks = 8, kCols = 150;

  /// As many channels as have about kCols weights; whole vectors of them where that is more than one.
  static int64_t channel_run(const Conv2dGeometry& g) {
    const int64_t most = std::max<int64_t>(1, kCols / (g.h.kernel * g.w.kernel));
    return std::min(g.group_in(), most > kLanes<T> ? most / kLanes<T> * kLanes<T> : most);
  }

  int64_t part_values() const { return round_up(g_.out_channels * g_.filter_size(), 16); }
  int64_t slot_values() const {
    return round_up(patches_.workspace_values() + patches_.block() * cols_ + filters_ * cols_, 16);
  }

  /// The sums of the units [begin, end), blocks of images, for a run of filters and one of channels.
  void run_task(int64_t task, int64_t begin, int64_t end, const T* x, const T* gy, T* to, T* slot) const {
    const int64_t group = task / (in_runs_ * out_runs_), k = task / in_runs_ % out_runs_ * filters_,
                  c = task % in_runs_ * run_;
    const int64_t filters = std::min(filters_, g_.group_out() - k), channels = std::min(run_, g_.group_in() - c);
    const int64_t plane = g_.output_plane(), blocks = patches_.blocks();
    T* const rows = slot + patches_.workspace_values();
    T* const sums = rows + patches_.block() * cols_;
    const Panels<T> panels(channels * taps_, false);
    PatchRows<T> patches = patches_;
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t image = unit / blocks, block = unit % blocks;
      if (unit == begin || block == 0) {
        const int64_t last = std::min(blocks, block + end - unit);
        patches.begin(channels, block, last,
                      x + (image * g_.in_channels + group * g_.group_in() + c) * g_.input_plane(), slot);
      }
      const int64_t count = patches.write(block, rows, cols_);
      const T* const left =
          gy + (image * g_.out_channels + group * g_.group_out() + k) * plane + block * patches.block();
      for (int64_t panel = 0; panel < panels.count; ++panel) {
        const int64_t first = panels.first(panel);
        multiply_panel<LeftOrder::kRows>(filters, panels.width(panel), count, left, plane, rows + first, cols_,
                                         sums + first, cols_, unit > begin);
      }
    }
    for (int64_t i = 0; i < filters; ++i) {
      std::copy(sums + i * cols_, sums + i * cols_ + channels * taps_,
                to + (group * g_.group_out() + k + i) * g_.filter_size() + c * taps_);
    }
  }

  const Conv2dGeometry& g_;
  int64_t taps_, run_;
  PatchRows<T> patches_;
  int64_t cols_, filters_, in_runs_, out_runs_, units_, share_, parts_;
};

}  // namespace cnnx::CNNX_ISA
