// The way out for sums that lie with the filters along the vector.
#pragma once

#include <algorithm>

#include "ops/conv2d/lane_epilogue.h"
#include "ops/shuffle.h"

namespace cnnx::CNNX_ISA {

/// Writes sums[i * ld + k] of `count` neighbouring positions, from `begin` on in planes of `plane` values, and of
/// `filters` filters to y[k * plane + begin + i]. Of every row of sums whole vectors are read.
template <class T>
void write_transposed(const T* sums, int64_t ld, int64_t filters, int64_t begin, int64_t count, int64_t plane,
                      const ConvEpilogue<T>& epilogue, T* y) {
  for (int64_t at = 0; at < count; at += kLanes<T>) {
    const int64_t length = std::min<int64_t>(kLanes<T>, count - at);
    for (int64_t k = 0; k < filters; k += kLanes<T>) {
      Vector<T> rows[kLanes<T>] = {};
      for (int64_t i = 0; i < length; ++i) rows[i] = load(sums + (at + i) * ld + k);
      transpose<T>(rows);
      const int64_t width = std::min<int64_t>(kLanes<T>, filters - k);
      for (int64_t l = 0; l < width; ++l) {
        T lanes[kLanes<T>];
        store(rows[l], lanes);
        const int64_t to = (k + l) * plane;
        FilterEpilogue<T>(epilogue.at(k + l, to), 0).write(lanes, length, begin + at, y + to);
      }
    }
  }
}

/// The same for whole numbers of at most 255 as bytes.
template <class T>
void write_transposed_bytes(const T* numbers, int64_t ld, int64_t filters, int64_t count, int64_t plane, uint8_t* y) {
  for (int64_t at = 0; at < count; at += kLanes<T>) {
    const int64_t length = std::min<int64_t>(kLanes<T>, count - at);
    Vector<T> rows[kLanes<T>] = {};
    for (int64_t i = 0; i < length; ++i) rows[i] = load(numbers + (at + i) * ld);
    transpose<T>(rows);
    for (int64_t k = 0; k < filters; ++k) store_bytes<T>(rows[k], length, y + k * plane + at);
  }
}

}  // namespace cnnx::CNNX_ISA
