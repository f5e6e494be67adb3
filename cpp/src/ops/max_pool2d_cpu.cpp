// Max pooling on the CPU. The first of equal values wins; a NaN wins over everything.
//
// 2x2 windows have kernels of their own (max_pool_2x2.h). Other strided windows go tap by tap over whole output rows,
// which the compiler vectorises; adaptive ones window by window.
#include "ops/max_pool2d.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels.h"
#include "ops/max_pool_2x2.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

constexpr int64_t kRow = 256;  // outputs of a row that are worked on at once

template <bool kSwitches, class T>
inline void take(T candidate, int32_t tap, T& best, int32_t& best_tap) {
  const bool wins = candidate > best || candidate != candidate;
  best = wins ? candidate : best;
  if constexpr (kSwitches) best_tap = wins ? tap : best_tap;
}

template <bool kSwitches, class T>
void take_row(int64_t count, const T* in, int64_t stride, int32_t tap, T* best, int32_t* best_tap) {
  if (stride == 1) {
    for (int64_t i = 0; i < count; ++i) take<kSwitches>(in[i], tap, best[i], best_tap[i]);
  } else if (stride == 2) {
    for (int64_t i = 0; i < count; ++i) take<kSwitches>(in[2 * i], tap, best[i], best_tap[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) take<kSwitches>(in[i * stride], tap, best[i], best_tap[i]);
  }
}

/// For each column of a window, the outputs for which it lies inside the image.
using Columns = std::vector<InsideRange>;

Columns inside_columns(const PoolGeometry& g) {
  Columns columns;
  for (int64_t s = 0; s < g.w.window.kernel && !g.w.adaptive; ++s) {
    columns.push_back(inside_range(g.w.window, s * g.w.window.dilation));
  }
  return columns;
}

/// The part [begin, end) of output row oh of one plane.
template <bool kSwitches, class T>
void strided_row(const PoolGeometry& g, const Columns& inside, int64_t oh, int64_t begin, int64_t end, const T* plane,
                 T* best, int32_t* best_tap) {
  const InsideTaps rows = inside_taps(g.h, oh);
  const auto columns = static_cast<int32_t>(g.w.window.kernel);
  for (int64_t i = begin; i < end; ++i) {
    best[i - begin] = -std::numeric_limits<T>::infinity();
    if constexpr (kSwitches)
      best_tap[i - begin] = static_cast<int32_t>(rows.first * columns + inside_taps(g.w, i).first);
  }
  for (int64_t r = rows.first; r < rows.last; ++r) {
    const T* in = plane + (g.h.begin(oh) + r * g.h.window.dilation) * g.w.input();
    for (int64_t s = 0; s < columns; ++s) {
      const InsideRange& range = inside[static_cast<size_t>(s)];
      const int64_t first = std::max(range.first, begin), last = std::min(range.last, end);
      if (first >= last) continue;
      take_row<kSwitches>(last - first, in + g.w.begin(first) + s * g.w.window.dilation, g.w.window.stride,
                          static_cast<int32_t>(r) * columns + static_cast<int32_t>(s), best + (first - begin),
                          best_tap + (first - begin));
    }
  }
}

/// The same for adaptive windows.
template <bool kSwitches, class T>
void adaptive_row(const PoolGeometry& g, const Columns&, int64_t oh, int64_t begin, int64_t end, const T* plane,
                  T* best, int32_t* best_tap) {
  const auto columns = static_cast<int32_t>(g.w.max_taps());
  for (int64_t ow = begin; ow < end; ++ow) {
    const T* corner = plane + g.h.begin(oh) * g.w.input() + g.w.begin(ow);
    T value = -std::numeric_limits<T>::infinity();
    int32_t winner = 0;
    for (int64_t r = 0; r < g.h.taps(oh); ++r) {
      for (int64_t s = 0; s < g.w.taps(ow); ++s) {
        take<kSwitches>(corner[r * g.w.input() + s], static_cast<int32_t>(r) * columns + static_cast<int32_t>(s), value,
                        winner);
      }
    }
    best[ow - begin] = value;
    if constexpr (kSwitches) best_tap[ow - begin] = winner;
  }
}

template <bool kSwitches, class Switch, class T>
void forward_planes(const PoolGeometry& g, const T* x, T* y, Switch* switches) {
  const Columns columns = inside_columns(g);
  parallel_for(g.planes, item_grain(g.output_plane() * 4), [&](int64_t first, int64_t last) {
    int32_t taps[kRow];
    for (int64_t plane = first; plane < last; ++plane) {
      for (int64_t oh = 0; oh < g.h.output(); ++oh) {
        for (int64_t begin = 0; begin < g.w.output(); begin += kRow) {
          const int64_t end = std::min(begin + kRow, g.w.output());
          const int64_t at = plane * g.output_plane() + oh * g.w.output() + begin;
          const auto row = g.w.adaptive ? adaptive_row<kSwitches, T> : strided_row<kSwitches, T>;
          row(g, columns, oh, begin, end, x + plane * g.input_plane(), y + at, taps);
          if constexpr (kSwitches) {
            for (int64_t i = 0; i < end - begin; ++i) switches[at + i] = static_cast<Switch>(taps[i]);
          }
        }
      }
    }
  });
}

template <class Switch, class T>
void backward_planes(const PoolGeometry& g, const T* gy, const Switch* switches, T* gx) {
  const int64_t columns = g.w.max_taps();
  parallel_for(g.planes, item_grain(g.input_plane()), [&](int64_t first, int64_t last) {
    std::fill(gx + first * g.input_plane(), gx + last * g.input_plane(), T(0));
    for (int64_t plane = first; plane < last; ++plane) {
      T* image = gx + plane * g.input_plane();
      for (int64_t oh = 0; oh < g.h.output(); ++oh) {
        const int64_t at = plane * g.output_plane() + oh * g.w.output(), top = g.h.begin(oh);
        for (int64_t ow = 0; ow < g.w.output(); ++ow) {
          const int64_t tap = switches[at + ow], r = tap / columns, s = tap - r * columns;
          const int64_t ih = top + r * g.h.window.dilation, iw = g.w.begin(ow) + s * g.w.window.dilation;
          // A dilated window can miss a small image altogether; its output is -inf and its gradient goes nowhere.
          if (ih < g.h.input() && iw < g.w.input()) image[ih * g.w.input() + iw] += gy[at + ow];
        }
      }
    }
  });
}

template <bool kSwitches, class T>
void forward_2x2(const PoolGeometry& g, const T* x, T* y, uint8_t* switches) {
  parallel_for(g.planes, item_grain(g.input_plane()), [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t out = i * g.output_plane();
      forward_plane_2x2<kSwitches>(g, x + i * g.input_plane(), y + out, kSwitches ? switches + out : nullptr);
    }
  });
}

template <class T>
void backward_2x2(const PoolGeometry& g, const T* gy, const uint8_t* switches, T* gx) {
  parallel_for(g.planes, item_grain(g.input_plane()), [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t out = i * g.output_plane();
      backward_plane_2x2(g, gy + out, switches + out, gx + i * g.input_plane());
    }
  });
}

template <class T>
void forward(const PoolGeometry& g, const T* x, T* y, void* switches) {
  if (is_2x2(g)) {
    auto* bytes = static_cast<uint8_t*>(switches);
    bytes ? forward_2x2<true>(g, x, y, bytes) : forward_2x2<false>(g, x, y, bytes);
  } else if (!switches) {
    forward_planes<false>(g, x, y, static_cast<uint8_t*>(nullptr));
  } else if (has_byte_switches(g)) {
    forward_planes<true>(g, x, y, static_cast<uint8_t*>(switches));
  } else {
    forward_planes<true>(g, x, y, static_cast<int32_t*>(switches));
  }
}

template <class T>
void backward(const PoolGeometry& g, const T* gy, const void* switches, T* gx) {
  if (is_2x2(g)) {
    backward_2x2(g, gy, static_cast<const uint8_t*>(switches), gx);
  } else if (has_byte_switches(g)) {
    backward_planes(g, gy, static_cast<const uint8_t*>(switches), gx);
  } else {
    backward_planes(g, gy, static_cast<const int32_t*>(switches), gx);
  }
}

template <class T>
constexpr MaxPool2dKernels<T> kTable{forward<T>, backward<T>};

}  // namespace

template <>
const MaxPool2dKernels<float>& table() {
  return kTable<float>;
}
template <>
const MaxPool2dKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
