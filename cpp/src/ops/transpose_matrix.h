// The transpose of a matrix, in square blocks of a vector's lanes.
#pragma once

#include <algorithm>
#include <cstring>

#include "ops/shuffle.h"

namespace cnnx::CNNX_ISA {

/// to[j * to_step + i] = from[i * from_step + j] for i < rows, j < cols.
template <class T>
void transpose_matrix(int64_t rows, int64_t cols, const T* from, int64_t from_step, T* to, int64_t to_step) {
  constexpr int64_t kSide = kLanes<T>;
  // A whole vector is copied by a constant length, which becomes one instruction.
  const auto copy = [](T* out, const T* in, int64_t count) {
    if (count == kSide) {
      std::memcpy(out, in, kSide * sizeof(T));
    } else {
      std::memcpy(out, in, static_cast<size_t>(count) * sizeof(T));
    }
  };
  for (int64_t i = 0; i < rows; i += kSide) {
    const int64_t height = std::min(kSide, rows - i);
    for (int64_t j = 0; j < cols; j += kSide) {
      const int64_t width = std::min(kSide, cols - j);
      Vector<T> block[kSide] = {};
      for (int64_t k = 0; k < height; ++k) {
        copy(reinterpret_cast<T*>(&block[k]), from + (i + k) * from_step + j, width);
      }
      transpose<T>(block);
      for (int64_t k = 0; k < width; ++k) {
        copy(to + (j + k) * to_step + i, reinterpret_cast<const T*>(&block[k]), height);
      }
    }
  }
}

}  // namespace cnnx::CNNX_ISA
