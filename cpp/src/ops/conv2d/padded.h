// Padded copies of image planes in which every filter tap is a constant offset.
//
// A plane is copied with its padding, split into phases: every stride-th row and column, from each of the first ones on
// that a tap can meet. Then the values that one tap meets for the outputs p = oh * pitch + ow lie at p + offset(tap): a
// convolution of any stride and dilation is a sum of shifted rows, without im2col. Outputs with ow beyond the width are
// computed and dropped.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/conv2d/conv2d.h"
#include "rounding.h"

namespace cnnx::CNNX_ISA {

struct Padded {
  int64_t rows = 0, cols = 0;  // of the source plane
  int64_t stride_h = 1, stride_w = 1;
  int64_t pad_top = 0, pad_left = 0;
  int64_t phases_h = 1, phases_w = 1;
  int64_t phase_rows = 0, pitch = 0;  // of one phase
  int64_t slack = 16;                 // zeros behind each plane, so that a vector may read past its end

  int64_t plane() const { return round_up(phases_h * phases_w * phase_rows * pitch + slack, 16); }
  /// Where the value at (row, col) of the padded plane lies.
  int64_t offset(int64_t row, int64_t col) const {
    return (row % stride_h * phases_w + col % stride_w) * phase_rows * pitch + row / stride_h * pitch + col / stride_w;
  }
};

/// A plane of the convolution's input.
inline Padded padded_input(const Conv2dGeometry& g) {
  Padded p{g.h.input, g.w.input, g.h.stride, g.w.stride, g.h.pad_before, g.w.pad_before};
  p.phases_h = std::min(g.h.stride, g.h.extent());
  p.phases_w = std::min(g.w.stride, g.w.extent());
  p.phase_rows = ceil_div((g.h.output - 1) * g.h.stride + g.h.extent(), g.h.stride);
  p.pitch = ceil_div((g.w.output - 1) * g.w.stride + g.w.extent(), g.w.stride);
  return p;
}

/// Unless the copy would be padding for the most part, as with a dilation beyond the image. Then plane() may not even
/// fit an integer.
inline bool is_worth_copying(const Padded& p) {
  const double values = static_cast<double>(p.phases_h * p.phase_rows) * static_cast<double>(p.phases_w * p.pitch);
  return values <= 16 * static_cast<double>(p.rows * p.cols + 64);
}

/// Copies one plane; everything outside it becomes zero.
template <class T>
void copy_padded(const Padded& p, const T* from, T* to) {
  const auto first_at_least = [](int64_t value, int64_t step) { return value <= 0 ? 0 : ceil_div(value, step); };
  T* row = to;
  for (int64_t a = 0; a < p.phases_h; ++a) {
    for (int64_t b = 0; b < p.phases_w; ++b) {
      const int64_t begin = std::min(p.pitch, first_at_least(p.pad_left - b, p.stride_w));
      const int64_t end = std::clamp(first_at_least(p.cols + p.pad_left - b, p.stride_w), begin, p.pitch);
      for (int64_t i = 0; i < p.phase_rows; ++i, row += p.pitch) {
        const int64_t source = i * p.stride_h + a - p.pad_top;
        if (source < 0 || source >= p.rows) {
          std::fill(row, row + p.pitch, T(0));
          continue;
        }
        const T* in = from + source * p.cols + b - p.pad_left;
        std::fill(row, row + begin, T(0));
        if (p.stride_w == 1) {
          for (int64_t j = begin; j < end; ++j) row[j] = in[j];
        } else if (p.stride_w == 2) {  // a constant stride becomes vectors
          for (int64_t j = begin; j < end; ++j) row[j] = in[j * 2];
        } else {
          for (int64_t j = begin; j < end; ++j) row[j] = in[j * p.stride_w];
        }
        std::fill(row + end, row + p.pitch, T(0));
      }
    }
  }
  std::fill(row, to + p.plane(), T(0));
}

}  // namespace cnnx::CNNX_ISA
