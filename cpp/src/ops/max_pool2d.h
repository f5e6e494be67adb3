// Kernels of max pooling. A switch is the number of the winning tap in its window, row * max_taps + column.
#pragma once

#include "ops/pool_window.h"

namespace cnnx {

/// Switches are bytes where the window has at most 256 taps, else 32-bit integers.
inline bool has_byte_switches(const PoolGeometry& g) { return g.h.max_taps() * g.w.max_taps() <= 256; }

template <class T>
struct MaxPool2dKernels {
  /// Of the forward pass.
  int64_t (*workspace_bytes)(const PoolGeometry& g);
  /// `switches` may be null when no gradient is wanted.
  void (*forward)(const PoolGeometry& g, const T* x, T* y, void* switches, void* workspace);
  void (*backward)(const PoolGeometry& g, const T* gy, const void* switches, T* gx);
};

}  // namespace cnnx
