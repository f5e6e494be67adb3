// The gradient of a convolution's bias, shared by its algorithms.
#pragma once

#include "ops/conv2d/conv2d.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {

/// gb[k] = sum of gy over batch and plane: vector sums over short runs, those added up in double.
template <class T>
void conv2d_bias_gradient(const Conv2dGeometry& g, const T* gy, T* gb) {
  constexpr int64_t kRun = 512;
  const int64_t plane = g.output_plane();
  parallel_for(g.out_channels, item_grain(g.batch * plane), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      double total = 0;
      for (int64_t n = 0; n < g.batch; ++n) {
        const T* values = gy + (n * g.out_channels + k) * plane;
        for (int64_t at = 0; at < plane; at += kRun) {
          T sum = 0;
          const int64_t stop = std::min(plane, at + kRun);
#pragma omp simd reduction(+ : sum)
          for (int64_t i = at; i < stop; ++i) sum += values[i];
          total += static_cast<double>(sum);
        }
      }
      gb[k] = static_cast<T>(total);
    }
  });
}

}  // namespace cnnx::CNNX_ISA
