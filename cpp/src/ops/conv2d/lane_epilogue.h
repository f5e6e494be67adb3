// Sums that lie with the filters along the vector: the epilogue, and 2x2 max pooling of what it makes of them.
#pragma once

#include "ops/conv2d/epilogue.h"
#include "ops/simd.h"

namespace cnnx::CNNX_ISA {

/// The epilogue of as many filters as a vector has lanes.
template <class T>
class LaneEpilogue {
 public:
  LaneEpilogue(const ConvEpilogue<T>& e, int64_t lanes) : relu_(e.relu) {
    for (int64_t k = 0; k < lanes; ++k) {
      scale_[k] = e.scale ? e.scale[k] : T(1);
      shift_[k] = e.shift ? e.shift[k] : T(0);
    }
  }
  Vector<T> operator()(const T* sums) const {
    const Vector<T> value = load(sums) * scale_ + shift_;
    return relu_ ? (value < T(0) ? Vector<T>{} : value) : value;  // NaN stays
  }

 private:
  Vector<T> scale_ = {}, shift_ = {};
  bool relu_;
};

/// The largest of 2x2 pixels that are `row` and `col` values apart, or the last NaN, and which one it is.
template <class T>
struct PooledPixel {
  PooledPixel(const T* pixel, int64_t row, int64_t col, const LaneEpilogue<T>& epilogue) : best(epilogue(pixel)) {
    T tap = 1;
    for (const T* const other : {pixel + col, pixel + row, pixel + row + col}) {
      const Vector<T> value = epilogue(other);
      const Integers<T> wins = (value > best) | (value != value);
      best = wins ? value : best;
      winner = wins ? Vector<T>{} + tap : winner;
      tap += 1;
    }
  }
  Vector<T> best, winner = {};
};

/// The first `count` of a vector's numbers, which are whole and at most 255, as bytes.
template <class T>
void store_bytes(Vector<T> values, int64_t count, uint8_t* to) {
  const auto numbers = __builtin_convertvector(values, Integers<T>);
  const auto bytes = __builtin_convertvector(numbers, typename VectorOf<uint8_t, kLanes<T>>::type);
  std::memcpy(to, &bytes, static_cast<size_t>(count));
}

}  // namespace cnnx::CNNX_ISA
