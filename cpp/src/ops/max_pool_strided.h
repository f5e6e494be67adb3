// Max pooling over strided windows of any size, in vectors of outputs: first along the rows of the input, then down the
// columns of what that gives, so that a window costs kernel + kernel comparisons and not kernel * kernel. Among equal
// values the first tap in row-major order wins, because the first column wins within a row and then the first row.
#pragma once

#include <algorithm>
#include <limits>
#include <type_traits>

#include "ops/max_pool2d.h"
#include "ops/shuffle.h"
#include "rounding.h"

namespace cnnx::CNNX_ISA {

/// One thread's scratch memory, in values.
template <class T>
struct StridedPoolScratch {
  explicit StridedPoolScratch(const PoolGeometry& g)
      : pitch(round_up(g.w.output(), kLanes<T>)), ring(std::min(g.h.window.extent(), g.h.input())) {
    const WindowAxis& w = g.w.window;
    padded = w.stride <= 2 ? pitch * w.stride + w.extent() + 2 * kLanes<T> : w.stride * (w.output - 1) + w.extent();
  }
  int64_t bytes() const { return round_up((padded + (2 * ring + 2) * pitch) * static_cast<int64_t>(sizeof(T)), 64); }

  int64_t padded;  // values from the first window's begin to the last one's end, or to the end of a vector of windows
  int64_t pitch;   // of a row of outputs
  int64_t ring;    // rows of maxima that are kept: as many as a window spans
};

/// Max pooling of plane after plane by one thread.
template <bool kSwitches, class Switch, class T>
class StridedPool {
  using Lane = std::remove_reference_t<decltype(Integers<T>{}[0])>;
  static constexpr T kLeast = -std::numeric_limits<T>::infinity();

 public:
  /// `x` are all planes of the input: a vector may read what lies beside a row, and discards it.
  StridedPool(const PoolGeometry& g, const T* x, void* scratch)
      : g_(g), size_(g), begin_(x), end_(x + g.planes * g.input_plane()) {
    padded_ = static_cast<T*>(scratch);
    maxima_ = padded_ + size_.padded;
    columns_ = reinterpret_cast<Lane*>(maxima_ + size_.ring * size_.pitch);
    first_columns_ = columns_ + size_.ring * size_.pitch;
    last_columns_ = first_columns_ + size_.pitch;
    std::fill(padded_, maxima_, kLeast);
    for (int64_t i = 0; i < size_.pitch; ++i) {
      const InsideTaps taps = i < g.w.output() ? inside_taps(g.w, i) : InsideTaps{0, 0};
      first_columns_[i] = static_cast<Lane>(taps.first);
      last_columns_[i] = static_cast<Lane>(taps.last);
    }
  }

  /// Writes the plane's outputs, and may write anything to what follows them, up to `room` values from `y`.
  void plane(const T* x, T* y, Switch* switches, int64_t room) {
    const int64_t columns = g_.w.output(), step = g_.h.window.dilation;
    int64_t next = 0;  // input row whose maxima are not known yet
    for (int64_t oh = 0; oh < g_.h.output(); ++oh) {
      const InsideTaps taps = inside_taps(g_.h, oh);
      const int64_t top = g_.h.begin(oh);
      next = std::max(next, top);  // and not the first tap's row: later windows may have taps before it
      if (taps.first < taps.last) {
        for (; next <= top + (taps.last - 1) * step; ++next) input_row(x + next * g_.w.input(), slot(next));
      }
      const int64_t first_slot = slot(top + taps.first * step);
      for (int64_t i = 0; i < columns; i += kLanes<T>) {
        const int64_t at = oh * columns + i;
        const int64_t count = room - at >= kLanes<T> ? kLanes<T> : columns - i;
        outputs(taps, first_slot, i, count, y + at, kSwitches ? switches + at : nullptr);
      }
    }
  }

 private:
  int64_t slot(int64_t row) const { return row % size_.ring; }

  /// The values at `from`, a stride further, and so on; `count` of them are wanted.
  static Vector<T> strided(const T* from, int64_t stride, int64_t count) {
    if (stride == 1) return load(from);
    Vector<T> taps[2] = {};
    if (stride == 2) {
      deinterleave2(from, taps);
    } else {
      for (int64_t lane = 0; lane < std::min<int64_t>(kLanes<T>, count); ++lane) taps[0][lane] = from[lane * stride];
    }
    return taps[0];
  }

  /// Each window's maximum within one input row, and its column.
  void input_row(const T* x, int64_t to) {
    const WindowAxis& w = g_.w.window;
    const bool is_surrounded = x - begin_ >= w.pad_before && end_ - x >= size_.padded - w.pad_before;
    if (!is_surrounded) {
      std::copy(x, x + std::min(w.input, size_.padded - w.pad_before), padded_ + w.pad_before);
    }
    const T* const from = is_surrounded ? x - w.pad_before : padded_;
    if (w.kernel == 3 && w.stride == 1 && w.dilation == 1) {  // the usual windows: unrolled
      row_maxima(from, 3, 1, 1, to);
    } else if (w.kernel == 3 && w.stride == 2 && w.dilation == 1) {
      row_maxima(from, 3, 2, 1, to);
    } else {
      row_maxima(from, w.kernel, w.stride, w.dilation, to);
    }
  }

  [[gnu::always_inline]] void row_maxima(const T* from, int64_t kernel, int64_t stride, int64_t dilation, int64_t to) {
    const int64_t columns = g_.w.output();
    for (int64_t i = 0; i < columns; i += kLanes<T>) {
      Vector<T> best = Vector<T>{} + kLeast;
      const Integers<T> inside_from = load_lanes(first_columns_ + i), inside_to = load_lanes(last_columns_ + i);
      Integers<T> winner = inside_from;
      for (int64_t s = 0; s < kernel; ++s) {
        const Integers<T> column = Integers<T>{} + static_cast<Lane>(s);
        const Vector<T> tap = strided(from + i * stride + s * dilation, stride, columns - i);
        const Integers<T> wins = ((tap > best) | (tap != tap)) & (column >= inside_from) & (column < inside_to);
        best = wins ? tap : best;
        if constexpr (kSwitches) winner = wins ? column : winner;
      }
      store(best, maxima_ + to * size_.pitch + i);
      if constexpr (kSwitches) std::memcpy(columns_ + to * size_.pitch + i, &winner, sizeof winner);
    }
  }

  /// kLanes outputs, of which `count` are written, from the rows of their windows, the first of which is in slot
  /// `first`.
  void outputs(const InsideTaps& taps, int64_t first, int64_t i, int64_t count, T* y, Switch* switches) const {
    const auto row_taps = static_cast<Lane>(g_.w.window.kernel);
    Vector<T> best = Vector<T>{} + kLeast;
    Integers<T> winner = load_lanes(first_columns_ + i) + static_cast<Lane>(taps.first) * row_taps;
    int64_t from = first;
    for (int64_t r = taps.first; r < taps.last; ++r) {
      const Vector<T> tap = load(maxima_ + from * size_.pitch + i);
      const Integers<T> wins = r == taps.first ? Integers<T>{} - 1 : (tap > best) | (tap != tap);
      best = wins ? tap : best;
      if constexpr (kSwitches) {
        winner = wins ? load_lanes(columns_ + from * size_.pitch + i) + static_cast<Lane>(r) * row_taps : winner;
      }
      from += g_.h.window.dilation;
      if (from >= size_.ring) from -= size_.ring;
    }
    write(best, count, y);
    if constexpr (kSwitches) {
      write(__builtin_convertvector(winner, typename VectorOf<Switch, kLanes<T>>::type), count, switches);
    }
  }

  template <class V, class Value>
  static void write(const V& lanes, int64_t count, Value* to) {
    if (count == kLanes<T>) {
      std::memcpy(to, &lanes, sizeof lanes);
    } else {
      std::memcpy(to, &lanes, static_cast<size_t>(count) * sizeof(Value));
    }
  }

  static Integers<T> load_lanes(const Lane* from) {
    Integers<T> lanes;
    std::memcpy(&lanes, from, sizeof lanes);
    return lanes;
  }

  const PoolGeometry& g_;
  StridedPoolScratch<T> size_;
  const T* begin_;
  const T* end_;
  T* padded_;
  T* maxima_;
  Lane* columns_;
  Lane* first_columns_;
  Lane* last_columns_;  // taps from the first one on and before this one lie inside the image
};

}  // namespace cnnx::CNNX_ISA
