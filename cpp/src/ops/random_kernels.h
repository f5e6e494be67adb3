// Kernels that fill buffers with random numbers. Value i depends on the stream and i only.
#pragma once

#include <cstdint>

#include "random.h"

namespace cnnx {

template <class T>
struct RandomKernels {
  void (*uniform)(int64_t n, Philox stream, T low, T high, T* y);
  void (*normal)(int64_t n, Philox stream, T mean, T std, T* y);
};

}  // namespace cnnx
