// How the filters of a convolution are divided into the columns of matrix products.
#pragma once

#include <algorithm>

#include "ops/gemm_tile.h"

namespace cnnx::CNNX_ISA {

/// Panels of whole vectors, no wider than the inner kernel's tile, as equal as they can be. Where there are several,
/// and threads share them, it is an even number.
template <class T>
struct Panels {
  explicit Panels(int64_t filters, bool shared = true)
      : vectors(ceil_div(filters, kLanes<T>)),
        count(vectors <= kTileVectors
                  ? 1
                  : std::min(vectors, round_up(ceil_div(vectors, kTileVectors), int64_t{shared ? 2 : 1}))) {}

  int64_t first(int64_t panel) const { return panel * vectors / count * kLanes<T>; }
  int64_t width(int64_t panel) const { return first(panel + 1) - first(panel); }
  /// The one that filter k is in.
  int64_t holding(int64_t k) const {
    int64_t panel = k * count / (vectors * kLanes<T>);
    while (first(panel + 1) <= k) ++panel;
    return panel;
  }

  int64_t vectors, count;
};

}  // namespace cnnx::CNNX_ISA
