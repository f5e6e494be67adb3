// Max pooling's usual case, 2x2 windows with stride 2 and no padding, in vectors of outputs.
#pragma once

#include <algorithm>

#include "ops/max_pool2d.h"
#include "ops/shuffle.h"
#include "rounding.h"

namespace cnnx::CNNX_ISA {

/// Whether every window is 2x2 and starts at twice its output's place.
inline bool is_2x2(const PoolGeometry& g) {
  const auto fits = [](const PoolAxis& axis) {
    return !axis.adaptive && axis.window.kernel == 2 && axis.window.stride == 2 && axis.window.dilation == 1 &&
           axis.window.pad_before == 0 && 2 * axis.window.output <= axis.window.input;
  };
  return fits(g.h) && fits(g.w);
}

/// One vector of outputs from 2 * kLanes values of two rows.
template <bool kSwitches, class T>
inline void pool_2x2(const T* top, const T* bottom, T* y, uint8_t* switches) {
  Vector<T> taps[4];
  deinterleave2(top, taps);
  deinterleave2(bottom, taps + 2);
  Vector<T> best = taps[0];
  Integers<T> winner = {};
  for (int tap = 1; tap < 4; ++tap) {
    const Integers<T> wins = (taps[tap] > best) | (taps[tap] != taps[tap]);
    best = wins ? taps[tap] : best;
    if constexpr (kSwitches) winner = wins ? Integers<T>{} + tap : winner;
  }
  store(best, y);
  if constexpr (kSwitches) {
    const auto bytes = __builtin_convertvector(winner, typename VectorOf<uint8_t, kLanes<T>>::type);
    std::memcpy(switches, &bytes, kLanes<T>);
  }
}

/// One output row; `switches` may be null if !kSwitches. `may_exceed` says that a vector past the row's end may be read
/// and written.
template <bool kSwitches, class T>
void pool_row_2x2(int64_t count, const T* top, const T* bottom, T* y, uint8_t* switches, bool may_exceed) {
  int64_t i = 0;
  for (; i + (may_exceed ? 1 : kLanes<T>) <= count; i += kLanes<T>) {
    pool_2x2<kSwitches>(top + 2 * i, bottom + 2 * i, y + i, kSwitches ? switches + i : nullptr);
  }
  if (i >= count) return;
  T rows[2][2 * kLanes<T>] = {}, best[kLanes<T>];
  uint8_t winners[kLanes<T>];
  for (int64_t j = 0; j < 2 * (count - i); ++j) {
    rows[0][j] = top[2 * i + j];
    rows[1][j] = bottom[2 * i + j];
  }
  pool_2x2<kSwitches>(rows[0], rows[1], best, winners);
  for (int64_t j = 0; j < count - i; ++j) {
    y[i + j] = best[j];
    if constexpr (kSwitches) switches[i + j] = winners[j];
  }
}

/// 2 * kLanes values of two rows of the gradient from one vector of outputs' gradients.
template <class T>
inline void spread_2x2(const T* gy, const uint8_t* switches, T* top, T* bottom) {
  typename VectorOf<uint8_t, kLanes<T>>::type bytes;
  std::memcpy(&bytes, switches, kLanes<T>);
  const Integers<T> winner = __builtin_convertvector(bytes, Integers<T>);
  const Vector<T> gradient = load(gy);
  Vector<T> taps[4];
  for (int tap = 0; tap < 4; ++tap) taps[tap] = winner == tap ? gradient : Vector<T>{};
  interleave2(taps, top);
  interleave2(taps + 2, bottom);
}

/// From the last vector to the first: what is written past the end of `top` may lie in `bottom`.
template <class T>
void spread_row_2x2(int64_t count, const T* gy, const uint8_t* switches, T* top, T* bottom, bool may_exceed) {
  const int64_t whole = may_exceed ? round_up(count, kLanes<T>) : count / kLanes<T> * kLanes<T>;
  for (int64_t i = whole; i > 0;) {
    i -= kLanes<T>;
    spread_2x2(gy + i, switches + i, top + 2 * i, bottom + 2 * i);
  }
  if (whole >= count) return;
  const int64_t i = whole;
  T rows[2][2 * kLanes<T>], gradient[kLanes<T>] = {};
  uint8_t winners[kLanes<T>] = {};
  for (int64_t j = 0; j < count - i; ++j) {
    gradient[j] = gy[i + j];
    winners[j] = switches[i + j];
  }
  spread_2x2(gradient, winners, rows[0], rows[1]);
  for (int64_t j = 0; j < 2 * (count - i); ++j) {
    top[2 * i + j] = rows[0][j];
    bottom[2 * i + j] = rows[1][j];
  }
}

/// Of `planes` planes that follow each other; what is written past a row is overwritten with the next one.
template <bool kSwitches, class T>
void forward_planes_2x2(const PoolGeometry& g, int64_t planes, const T* x, T* y, uint8_t* switches) {
  const int64_t width = g.w.input(), count = g.w.output(), in_values = planes * g.input_plane();
  const int64_t out_values = planes * g.output_plane(), reach = round_up(count, kLanes<T>);
  for (int64_t plane = 0; plane < planes; ++plane) {
    for (int64_t oh = 0; oh < g.h.output(); ++oh) {
      const int64_t from = plane * g.input_plane() + 2 * oh * width, to = plane * g.output_plane() + oh * count;
      pool_row_2x2<kSwitches>(count, x + from, x + from + width, y + to, kSwitches ? switches + to : nullptr,
                              from + width + 2 * reach <= in_values && to + reach <= out_values);
    }
  }
}

template <class T>
void backward_planes_2x2(const PoolGeometry& g, int64_t planes, const T* gy, const uint8_t* switches, T* gx) {
  const int64_t width = g.w.input(), count = g.w.output(), in_values = planes * g.input_plane();
  const int64_t out_values = planes * g.output_plane(), reach = round_up(count, kLanes<T>);
  for (int64_t plane = 0; plane < planes; ++plane) {
    T* const image = gx + plane * g.input_plane();
    for (int64_t oh = 0; oh < g.h.output(); ++oh) {
      const int64_t from = plane * g.output_plane() + oh * count, row = 2 * oh * width;
      T *const top = image + row, *const bottom = top + width;
      spread_row_2x2(count, gy + from, switches + from, top, bottom,
                     from + reach <= out_values && plane * g.input_plane() + row + width + 2 * reach <= in_values);
      for (int64_t i = 2 * count; i < width; ++i) top[i] = bottom[i] = T(0);
    }
    std::fill(image + 2 * g.h.output() * width, image + g.input_plane(), T(0));
  }
}

}  // namespace cnnx::CNNX_ISA
