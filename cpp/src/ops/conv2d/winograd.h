// Winograd's transforms of tiles of vectors.
#pragma once

#include "ops/conv2d/winograd_forms.h"
#include "ops/simd.h"

namespace cnnx::CNNX_ISA::winograd {

/// Where the values of a tile lie, in steps of values from one row and from one column to the next.
struct TileSteps {
  int64_t row, col;
};

/// A transform of the rows, then of the columns, of a tile of vectors.
template <class Transform, class T>
void transform_tile(const T* from, TileSteps from_steps, T* to, TileSteps to_steps) {
  constexpr int kFrom = Transform::kFrom, kTo = Transform::kTo;
  Vector<T> middle[kTo][kFrom];
  for (int j = 0; j < kFrom; ++j) {
    Vector<T> values[kFrom], results[kTo];
    for (int i = 0; i < kFrom; ++i) values[i] = load(from + i * from_steps.row + j * from_steps.col);
    Transform::apply(values, results);
    for (int i = 0; i < kTo; ++i) middle[i][j] = results[i];
  }
  for (int i = 0; i < kTo; ++i) {
    Vector<T> results[kTo];
    Transform::apply(middle[i], results);
    for (int j = 0; j < kTo; ++j) store(results[j], to + i * to_steps.row + j * to_steps.col);
  }
}

}  // namespace cnnx::CNNX_ISA::winograd
