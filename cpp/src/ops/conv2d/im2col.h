// im2col: image patches as the columns of a matrix, and its transpose col2im, for a range of output positions.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/conv2d/conv2d.h"

namespace cnnx::CNNX_ISA {

/// Writes the columns of output positions [begin, end) of one image and group; col is (channels * R * S) rows of `ld`.
template <class T>
void im2col(const Conv2dGeometry& g, int64_t channels, const T* x, int64_t begin, int64_t end, T* col, int64_t ld) {
  const int64_t OW = g.w.output;
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t r = 0; r < g.h.kernel; ++r) {
      for (int64_t s = 0; s < g.w.kernel; ++s, col += ld) {
        const InsideRange inside = inside_range(g.w, s * g.w.dilation);
        const int64_t shift = s * g.w.dilation - g.w.pad_before;
        for (int64_t at = begin; at < end;) {
          const int64_t oh = at / OW, row_first = at - oh * OW, row_last = std::min(OW, row_first + end - at);
          const int64_t ih = g.h.start(oh) + r * g.h.dilation;
          T* out = col + (at - begin) - row_first;  // indexed by ow
          const bool row_inside = ih >= 0 && ih < g.h.input;
          const int64_t from = row_inside ? std::clamp(inside.first, row_first, row_last) : row_last;
          const int64_t to = row_inside ? std::clamp(inside.last, from, row_last) : row_last;
          const T* in = x + (row_inside ? ih * g.w.input : 0);
          for (int64_t ow = row_first; ow < from; ++ow) out[ow] = T(0);
          if (g.w.stride == 1) {
            for (int64_t ow = from; ow < to; ++ow) out[ow] = in[ow + shift];
          } else {
            for (int64_t ow = from; ow < to; ++ow) out[ow] = in[ow * g.w.stride + shift];
          }
          for (int64_t ow = to; ow < row_last; ++ow) out[ow] = T(0);
          at += row_last - row_first;
        }
      }
    }
    x += g.input_plane();
  }
}

/// Adds the columns of output positions [begin, end) back into the channels of an image, the transpose of im2col.
template <class T>
void col2im(const Conv2dGeometry& g, int64_t channels, const T* col, int64_t ld, int64_t begin, int64_t end, T* x) {
  const int64_t OW = g.w.output;
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t r = 0; r < g.h.kernel; ++r) {
      for (int64_t s = 0; s < g.w.kernel; ++s, col += ld) {
        const InsideRange inside = inside_range(g.w, s * g.w.dilation);
        const int64_t shift = s * g.w.dilation - g.w.pad_before;
        for (int64_t at = begin; at < end;) {
          const int64_t oh = at / OW, row_first = at - oh * OW, row_last = std::min(OW, row_first + end - at);
          const int64_t ih = g.h.start(oh) + r * g.h.dilation;
          const T* in = col + (at - begin) - row_first;  // indexed by ow
          at += row_last - row_first;
          if (ih < 0 || ih >= g.h.input) continue;
          const int64_t from = std::clamp(inside.first, row_first, row_last),
                        to = std::clamp(inside.last, from, row_last);
          T* out = x + ih * g.w.input;
          if (g.w.stride == 1) {
            for (int64_t ow = from; ow < to; ++ow) out[ow + shift] += in[ow];
          } else {
            for (int64_t ow = from; ow < to; ++ow) out[ow * g.w.stride + shift] += in[ow];
          }
        }
      }
    }
    x += g.input_plane();
  }
}

}  // namespace cnnx::CNNX_ISA
