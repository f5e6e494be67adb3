// Kernels of sum, max, min and argmax over one run of axes: x is (outer, length, inner), y is (outer, inner).
#pragma once

#include <cstdint>

namespace cnnx {

struct ReduceGeometry {
  int64_t outer = 1;
  int64_t length = 1;
  int64_t inner = 1;
};

/// T is float, double or int64_t.
template <class T>
struct ReduceKernels {
  void (*sum)(const ReduceGeometry& g, const T* x, T* y);
  /// The largest (sign +1) or smallest (sign -1) values and their positions; the first wins ties, NaN wins over all.
  void (*extreme)(const ReduceGeometry& g, int sign, const T* x, T* y, int64_t* index);
  /// y (outer, length, inner) = x (outer, inner) repeated: the gradient of sum.
  void (*repeat)(const ReduceGeometry& g, const T* x, T* y);
  /// gx (outer, length, inner) = gy at the positions in index, zero elsewhere: the gradient of extreme.
  void (*scatter)(const ReduceGeometry& g, const T* gy, const int64_t* index, T* gx);
};

}  // namespace cnnx
