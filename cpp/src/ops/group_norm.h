// Kernels of group, layer and instance normalization: rows of values are each normalised by their own mean and
// variance, then scaled and shifted.
#pragma once

#include <cstdint>

namespace cnnx {

/// x is (batch, groups, channels, plane); a row is (channels, plane). Weight and bias are (groups, channels): one
/// number for each plane. Layer normalization has one group and planes of one value.
struct GroupNormGeometry {
  int64_t batch = 0;
  int64_t groups = 1;
  int64_t channels = 1;  // of one group
  int64_t plane = 1;
  double eps = 0;

  constexpr int64_t rows() const { return batch * groups; }
  constexpr int64_t row_values() const { return channels * plane; }
  constexpr int64_t weights() const { return groups * channels; }
};

/// `w` and `b` may be null: 1 and 0. mean and var (biased) are (rows). The workspace has the bytes of the pass.
template <class T>
struct GroupNormKernels {
  int64_t (*forward_bytes)(const GroupNormGeometry& g);
  void (*forward)(const GroupNormGeometry& g, const T* x, const T* w, const T* b, T* y, T* mean, T* var,
                  void* workspace);
  int64_t (*backward_bytes)(const GroupNormGeometry& g);
  /// gx, gw, gb may be null.
  void (*backward)(const GroupNormGeometry& g, const T* x, const T* mean, const T* var, const T* w, const T* gy, T* gx,
                   T* gw, T* gb, void* workspace);
  /// running = (1 - momentum) * running + momentum * the average over the batch of factor * the rows' statistics.
  void (*blend)(const GroupNormGeometry& g, double momentum, double factor, const T* statistics, T* running);
};

}  // namespace cnnx
