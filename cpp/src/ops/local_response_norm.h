// Kernels of local response normalization over (batch, channels, plane).
#pragma once

#include <cstdint>

namespace cnnx {

struct LrnGeometry {
  int64_t batch = 0;
  int64_t channels = 0;
  int64_t plane = 1;
  int64_t size = 1;  // channels of a window: size / 2 before, (size - 1) / 2 behind
  double alpha = 0, beta = 0, k = 0;
  int threads = 1;  // that a kernel may use: each has a workspace of its own
};

template <class T>
struct LrnKernels {
  int64_t (*workspace_bytes)(const LrnGeometry& g);
  void (*forward)(const LrnGeometry& g, const T* x, T* y, void* workspace);
  void (*backward)(const LrnGeometry& g, const T* x, const T* gy, T* gx, void* workspace);
};

}  // namespace cnnx
