// Image patches as the rows of a matrix, [position][channel][tap], for some channels and a range of output positions:
// columns copied from padded planes, then transposed.
#pragma once

#include "ops/conv2d/padded.h"
#include "ops/transpose_matrix.h"

namespace cnnx::CNNX_ISA {

template <class T>
class PatchRows {
 public:
  /// For up to `channels` of an image, and about `positions` of a plane at a time.
  PatchRows(const Conv2dGeometry& g, int64_t channels, int64_t positions)
      : g_(g), padded_(padded_input(g)), taps_(g.h.kernel * g.w.kernel) {
    const int64_t rows = g.is_pointwise() ? 1 : std::max<int64_t>(1, positions / std::max<int64_t>(1, g.w.output));
    block_ = std::min(g.output_plane(), g.is_pointwise() ? positions : rows * g.w.output);
    step_ = round_up(block_, kLanes<T>);
    planes_ = g.is_pointwise() ? 0 : channels * padded_.plane();
    // The last row's last vector may go too far.
    columns_ = g.is_pointwise() ? 0 : round_up(channels * taps_ * step_ + kLanes<T>, 16);
  }

  /// Positions of a block: whole rows of outputs.
  int64_t block() const { return block_; }
  int64_t blocks() const { return ceil_div(g_.output_plane(), std::max<int64_t>(1, block_)); }
  int64_t workspace_values() const { return planes_ + columns_; }

  /// Takes the blocks [first, last) of these channels of an image.
  void begin(int64_t channels, int64_t first, int64_t last, const T* x, T* workspace) {
    channels_ = channels;
    planes_at_ = x;
    if (g_.is_pointwise()) return;
    first_row_ = first * block_ / g_.w.output;
    const int64_t rows = std::min(g_.h.output, last * block_ / g_.w.output) - first_row_;
    padded_.pad_top = g_.h.pad_before - first_row_ * g_.h.stride;
    padded_.phase_rows = ceil_div((rows - 1) * g_.h.stride + g_.h.extent(), g_.h.stride);
    for (int64_t c = 0; c < channels; ++c) {
      copy_padded(padded_, x + c * g_.input_plane(), workspace + c * padded_.plane());
    }
    planes_at_ = workspace;
    columns_at_ = workspace + planes_;
  }

  /// Writes the patches of a block that begin() has taken, in rows of to_step values. Returns how many.
  int64_t write(int64_t block, T* to, int64_t to_step) const {
    const int64_t first = block * block_, count = std::min(block_, g_.output_plane() - first);
    if (g_.is_pointwise()) {
      transpose_matrix(channels_, count, planes_at_ + first, g_.output_plane(), to, to_step);
    } else {
      fill_columns(first / g_.w.output - first_row_, count / g_.w.output);
      transpose_matrix(channels_ * taps_, count, columns_at_, step_, to, to_step);
    }
    return count;
  }

 private:
  /// Whole vectors are copied: what goes too far is overwritten by the next row.
  void fill_columns(int64_t first_row, int64_t rows) const {
    const T* plane = planes_at_ + first_row * padded_.pitch;
    T* column = columns_at_;
    for (int64_t c = 0; c < channels_; ++c, plane += padded_.plane()) {
      for (int64_t r = 0; r < g_.h.kernel; ++r) {
        for (int64_t s = 0; s < g_.w.kernel; ++s, column += step_) {
          const T* from = plane + padded_.offset(r * g_.h.dilation, s * g_.w.dilation);
          for (int64_t oh = 0; oh < rows; ++oh) {
            for (int64_t ow = 0; ow < g_.w.output; ow += kLanes<T>) {
              store(load(from + oh * padded_.pitch + ow), column + oh * g_.w.output + ow);
            }
          }
        }
      }
    }
  }

  const Conv2dGeometry& g_;
  Padded padded_;
  int64_t taps_, block_, step_, planes_, columns_, channels_ = 0, first_row_ = 0;
  const T* planes_at_ = nullptr;
  T* columns_at_ = nullptr;
};

}  // namespace cnnx::CNNX_ISA
