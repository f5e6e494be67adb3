// Rearrangements of vectors: every second or fourth value, and square transposes.
#pragma once

#include <utility>

#include "ops/simd.h"

namespace cnnx::CNNX_ISA {

namespace detail {
/// The mask of a shuffle of two vectors: lane i takes value fn(i) of the pair.
template <class T, class F, int... kLane>
inline Vector<T> shuffle(const Vector<T>& a, const Vector<T>& b, F, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(a, b, F()(kLane)...);
}
template <class T, class F>
inline Vector<T> shuffle(const Vector<T>& a, const Vector<T>& b, F fn) {
  return shuffle<T>(a, b, fn, std::make_integer_sequence<int, kLanes<T>>());
}
}  // namespace detail

/// to[j] = values j, j + 2, j + 4, ... of 2 * kLanes values.
template <class T>
inline void deinterleave2(const T* from, Vector<T>* to) {
  const Vector<T> a = load(from), b = load(from + kLanes<T>);
  to[0] = detail::shuffle<T>(a, b, [](int lane) { return 2 * lane; });
  to[1] = detail::shuffle<T>(a, b, [](int lane) { return 2 * lane + 1; });
}

/// The inverse: writes from[0][0], from[1][0], from[0][1], ...
template <class T>
inline void interleave2(const Vector<T>* from, T* to) {
  store(detail::shuffle<T>(from[0], from[1], [](int lane) { return lane / 2 + (lane % 2) * kLanes<T>; }), to);
  store(
      detail::shuffle<T>(from[0], from[1], [](int lane) { return lane / 2 + kLanes<T> / 2 + (lane % 2) * kLanes<T>; }),
      to + kLanes<T>);
}

/// to[j] = values j, j + 4, j + 8, ... of 4 * kLanes values.
template <class T>
inline void deinterleave4(const T* from, Vector<T>* to) {
  constexpr auto kEven = [](int lane) { return 2 * lane; };
  constexpr auto kOdd = [](int lane) { return 2 * lane + 1; };
  const Vector<T> a = load(from), b = load(from + kLanes<T>), c = load(from + 2 * kLanes<T>),
                  d = load(from + 3 * kLanes<T>);
  const Vector<T> even_ab = detail::shuffle<T>(a, b, kEven), odd_ab = detail::shuffle<T>(a, b, kOdd);
  const Vector<T> even_cd = detail::shuffle<T>(c, d, kEven), odd_cd = detail::shuffle<T>(c, d, kOdd);
  to[0] = detail::shuffle<T>(even_ab, even_cd, kEven);
  to[1] = detail::shuffle<T>(odd_ab, odd_cd, kEven);
  to[2] = detail::shuffle<T>(even_ab, even_cd, kOdd);
  to[3] = detail::shuffle<T>(odd_ab, odd_cd, kOdd);
}

/// The inverse: writes from[0][0], from[1][0], from[2][0], from[3][0], from[0][1], ...
template <class T>
inline void interleave4(const Vector<T>* from, T* to) {
  constexpr auto kLow = [](int lane) { return lane / 2 + (lane % 2) * kLanes<T>; };
  constexpr auto kHigh = [](int lane) { return lane / 2 + kLanes<T> / 2 + (lane % 2) * kLanes<T>; };
  const Vector<T> low_even = detail::shuffle<T>(from[0], from[2], kLow);
  const Vector<T> high_even = detail::shuffle<T>(from[0], from[2], kHigh);
  const Vector<T> low_odd = detail::shuffle<T>(from[1], from[3], kLow);
  const Vector<T> high_odd = detail::shuffle<T>(from[1], from[3], kHigh);
  store(detail::shuffle<T>(low_even, low_odd, kLow), to);
  store(detail::shuffle<T>(low_even, low_odd, kHigh), to + kLanes<T>);
  store(detail::shuffle<T>(high_even, high_odd, kLow), to + 2 * kLanes<T>);
  store(detail::shuffle<T>(high_even, high_odd, kHigh), to + 3 * kLanes<T>);
}

namespace detail {
/// Swaps the off-diagonal blocks of kSize x kSize lanes, then of half that size.
template <class T, int kSize>
inline void transpose_blocks(Vector<T>* rows) {
  if constexpr (kSize > 0) {
    constexpr auto kUpper = [](int lane) { return lane & kSize ? lane - kSize + kLanes<T> : lane; };
    constexpr auto kLower = [](int lane) { return lane & kSize ? lane + kLanes<T> : lane + kSize; };
    for (int i = 0; i < kLanes<T>; ++i) {
      if (i & kSize) continue;
      const Vector<T> a = rows[i], b = rows[i + kSize];
      rows[i] = shuffle<T>(a, b, kUpper);
      rows[i + kSize] = shuffle<T>(a, b, kLower);
    }
    transpose_blocks<T, kSize / 2>(rows);
  }
}
}  // namespace detail

/// Transposes kLanes vectors in place.
template <class T>
inline void transpose(Vector<T>* rows) {
  detail::transpose_blocks<T, kLanes<T> / 2>(rows);
}

}  // namespace cnnx::CNNX_ISA
