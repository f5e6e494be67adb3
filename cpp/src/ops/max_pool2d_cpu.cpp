// Max pooling on the CPU. The first of equal values wins; a NaN wins over everything.
//
// 2x2 windows have kernels of their own (max_pool_2x2.h), other strided windows go row by row (max_pool_strided.h),
// adaptive ones window by window.
#include "ops/max_pool2d.h"

#include <algorithm>
#include <limits>

#include "kernels.h"
#include "ops/max_pool_2x2.h"
#include "ops/max_pool_strided.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

/// Planes of a task: about kElementGrain inputs and outputs.
int64_t planes_per_task(const PoolGeometry& g) { return item_grain(g.input_plane() + g.output_plane()); }

template <bool kSwitches, class Switch, class T>
void adaptive_plane(const PoolGeometry& g, const T* x, T* y, Switch* switches) {
  const int64_t columns = g.w.max_taps();
  for (int64_t oh = 0; oh < g.h.output(); ++oh) {
    for (int64_t ow = 0; ow < g.w.output(); ++ow) {
      const T* corner = x + g.h.begin(oh) * g.w.input() + g.w.begin(ow);
      T best = -std::numeric_limits<T>::infinity();
      int64_t winner = 0;
      for (int64_t r = 0; r < g.h.taps(oh); ++r) {
        for (int64_t s = 0; s < g.w.taps(ow); ++s) {
          const T tap = corner[r * g.w.input() + s];
          const bool wins = tap > best || tap != tap;
          best = wins ? tap : best;
          winner = wins ? r * columns + s : winner;
        }
      }
      y[oh * g.w.output() + ow] = best;
      if constexpr (kSwitches) switches[oh * g.w.output() + ow] = static_cast<Switch>(winner);
    }
  }
}

template <class T>
int64_t slot_bytes(const PoolGeometry& g) {
  return g.h.adaptive || is_2x2(g) ? 0 : StridedPoolScratch<T>(g).bytes();
}

template <class T>
int64_t workspace_bytes(const PoolGeometry& g) {
  return g.threads * slot_bytes<T>(g);
}

template <bool kSwitches, class Switch, class T>
void forward_planes(const PoolGeometry& g, const T* x, T* y, Switch* switches, void* workspace) {
  const int64_t step = planes_per_task(g);
  parallel_slots(ceil_div(g.planes, step), g.threads, [&](int64_t task, int slot) {
    const int64_t last = std::min(g.planes, (task + 1) * step);
    const auto each_plane = [&](auto&& fn) {
      for (int64_t plane = task * step; plane < last; ++plane) {
        const int64_t out = plane * g.output_plane();
        fn(x + plane * g.input_plane(), y + out, kSwitches ? switches + out : nullptr,
           (last - plane) * g.output_plane());
      }
    };
    if (g.h.adaptive) {
      each_plane([&](const T* in, T* out, Switch* taps, int64_t) { adaptive_plane<kSwitches>(g, in, out, taps); });
    } else {
      StridedPool<kSwitches, Switch, T> pool(g, x, static_cast<char*>(workspace) + slot * slot_bytes<T>(g));
      each_plane([&](auto... planes) { pool.plane(planes...); });
    }
  });
}

/// Where each tap of a window lies, from the window's begin; for switches that are bytes.
struct TapOffsets {
  explicit TapOffsets(const PoolGeometry& g) {
    for (int64_t r = 0, tap = 0; r < g.h.max_taps(); ++r) {
      for (int64_t s = 0; s < g.w.max_taps(); ++s, ++tap) {
        offset[tap] = r * g.h.window.dilation * g.w.input() + s * g.w.window.dilation;
      }
    }
  }
  int64_t offset[256];
};

/// Whether no window misses the image, as a dilated one in the padding of a small image may.
bool all_windows_meet(const PoolAxis& axis) {
  for (int64_t o = 0; o < axis.output(); ++o) {
    const InsideTaps taps = inside_taps(axis, o);
    if (taps.first >= taps.last) return false;
  }
  return true;
}

/// Zeroes the gradient, then calls row(image, oh, number of the row's first output) for every row of outputs.
template <class T, class F>
void backward_rows(const PoolGeometry& g, T* gx, F row) {
  parallel_for(g.planes, planes_per_task(g), [&](int64_t first, int64_t last) {
    std::fill(gx + first * g.input_plane(), gx + last * g.input_plane(), T(0));
    for (int64_t plane = first; plane < last; ++plane) {
      for (int64_t oh = 0; oh < g.h.output(); ++oh) {
        row(gx + plane * g.input_plane(), oh, plane * g.output_plane() + oh * g.w.output());
      }
    }
  });
}

/// The usual case: switches are bytes, and each points into the image.
template <class T>
void backward_by_offsets(const PoolGeometry& g, const T* gy, const uint8_t* switches, T* gx) {
  const TapOffsets taps(g);
  backward_rows(g, gx, [&](T* image, int64_t oh, int64_t at) {
    T* const row = image + g.h.begin(oh) * g.w.input();
    for (int64_t ow = 0; ow < g.w.output(); ++ow, ++at) row[g.w.begin(ow) + taps.offset[switches[at]]] += gy[at];
  });
}

template <class Switch, class T>
void backward_by_division(const PoolGeometry& g, const T* gy, const Switch* switches, T* gx) {
  const int64_t columns = g.w.max_taps();
  backward_rows(g, gx, [&](T* image, int64_t oh, int64_t at) {
    for (int64_t ow = 0; ow < g.w.output(); ++ow, ++at) {
      const int64_t tap = switches[at], r = tap / columns, s = tap - r * columns;
      const int64_t ih = g.h.begin(oh) + r * g.h.window.dilation, iw = g.w.begin(ow) + s * g.w.window.dilation;
      // A dilated window can miss a small image altogether; its output is -inf and its gradient goes nowhere.
      if (ih < g.h.input() && iw < g.w.input()) image[ih * g.w.input() + iw] += gy[at];
    }
  });
}

template <bool kSwitches, class T>
void forward_2x2(const PoolGeometry& g, const T* x, T* y, uint8_t* switches) {
  parallel_for(g.planes, planes_per_task(g), [&](int64_t first, int64_t last) {
    const int64_t out = first * g.output_plane();
    forward_planes_2x2<kSwitches>(g, last - first, x + first * g.input_plane(), y + out,
                                  kSwitches ? switches + out : nullptr);
  });
}

template <class T>
void backward_2x2(const PoolGeometry& g, const T* gy, const uint8_t* switches, T* gx) {
  parallel_for(g.planes, planes_per_task(g), [&](int64_t first, int64_t last) {
    const int64_t out = first * g.output_plane();
    backward_planes_2x2(g, last - first, gy + out, switches + out, gx + first * g.input_plane());
  });
}

template <class T>
void forward(const PoolGeometry& g, const T* x, T* y, void* switches, void* workspace) {
  auto* const bytes = static_cast<uint8_t*>(switches);
  if (is_2x2(g)) {
    bytes ? forward_2x2<true>(g, x, y, bytes) : forward_2x2<false>(g, x, y, bytes);
  } else if (!switches) {
    forward_planes<false>(g, x, y, bytes, workspace);
  } else if (has_byte_switches(g)) {
    forward_planes<true>(g, x, y, bytes, workspace);
  } else {
    forward_planes<true>(g, x, y, static_cast<int32_t*>(switches), workspace);
  }
}

template <class T>
void backward(const PoolGeometry& g, const T* gy, const void* switches, T* gx) {
  const auto* const bytes = static_cast<const uint8_t*>(switches);
  if (is_2x2(g)) {
    backward_2x2(g, gy, bytes, gx);
  } else if (!has_byte_switches(g)) {
    backward_by_division(g, gy, static_cast<const int32_t*>(switches), gx);
  } else if (all_windows_meet(g.h) && all_windows_meet(g.w)) {
    backward_by_offsets(g, gy, bytes, gx);
  } else {
    backward_by_division(g, gy, bytes, gx);
  }
}

template <class T>
constexpr MaxPool2dKernels<T> kTable{workspace_bytes<T>, forward<T>, backward<T>};

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
