// Kernels that resize planes axis by axis: each output position takes one input position, or blends two neighbours.
// They serve upsampling and reflection padding.
#pragma once

#include <cstdint>

namespace cnnx {

/// Output o is input first[o], or, with weights, (1 - weight[o]) times it plus weight[o] times the next (the same at
/// the end). The transpose: input i goes to outputs[k] with share[k] for k in [offsets[i], offsets[i + 1]).
template <class T>
struct ResampleAxis {
  int64_t input = 0;
  int64_t output = 0;
  const int64_t* first = nullptr;
  const T* weight = nullptr;  // null: no blending
  const int64_t* offsets = nullptr;
  const int64_t* outputs = nullptr;
  const T* share = nullptr;

  constexpr int64_t second(int64_t o) const { return first[o] + 1 < input ? first[o] + 1 : first[o]; }
};

/// Both axes blend or neither does.
template <class T>
struct ResampleGeometry {
  int64_t planes = 0;
  ResampleAxis<T> h;
  ResampleAxis<T> w;
  int threads = 1;  // that a kernel may use: each has a workspace of its own
};

/// x (planes, h.input, w.input), y (planes, h.output, w.output). Outputs are overwritten.
template <class T>
struct ResampleKernels {
  int64_t (*workspace_bytes)(const ResampleGeometry<T>& g);
  void (*forward)(const ResampleGeometry<T>& g, const T* x, T* y, void* workspace);
  void (*backward)(const ResampleGeometry<T>& g, const T* gy, T* gx, void* workspace);
};

}  // namespace cnnx
