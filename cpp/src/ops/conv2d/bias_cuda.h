// The gradient of a convolution's bias on CUDA, the same for every algorithm.
#pragma once

#include "cuda/launch.h"
#include "ops/conv2d/conv2d.h"
#include "ops/reduce.h"

namespace cnnx::cuda {

/// gb[k] = sum of gy over planes, then over the batch.
template <class T>
void conv2d_bias_gradient(const Conv2dGeometry& g, const T* gy, T* gb) {
  const auto& reduce = table<ReduceKernels<T>>();
  const Scratch planes(g.batch * g.out_channels * static_cast<int64_t>(sizeof(T)));
  reduce.sum({g.batch * g.out_channels, g.output_plane(), 1}, gy, planes.as<T>());
  reduce.sum({1, g.batch, g.out_channels}, planes.as<T>(), gb);
}

}  // namespace cnnx::cuda
