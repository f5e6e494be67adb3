// The last step of convolution's forward pass, shared by its algorithms.
#pragma once

#include "ops/conv2d/conv2d.h"
#include "ops/simd.h"

namespace cnnx::CNNX_ISA {

/// The epilogue of one filter, applied to runs of its sums.
template <class T>
class FilterEpilogue {
 public:
  FilterEpilogue(const ConvEpilogue<T>& e, int64_t k)
      : scale_(e.scale ? e.scale[k] : T(1)),
        shift_(e.shift ? e.shift[k] : T(0)),
        residual_(e.residual),
        relu_(e.relu) {}

  /// y[at + i] for i < count from sums[i]; y + at may be where the sums are. Touches no other values.
  void write(const T* sums, int64_t count, int64_t at, T* y) const {
    write_vectors<kLanes<T>>(sums, count, residual_ ? residual_ + at : nullptr, y + at);
  }

 private:
  /// Whole vectors, then those of half the width for what is left: rows of small images are short.
  template <int kWidth>
  void write_vectors(const T* sums, int64_t count, const T* residual, T* to) const {
    using V = typename VectorOf<T, kWidth>::type;
    int64_t i = 0;
    for (; i + kWidth <= count; i += kWidth) {
      V value, add;
      std::memcpy(&value, sums + i, sizeof value);
      value = value * scale_ + shift_;
      if (residual) {
        std::memcpy(&add, residual + i, sizeof add);
        value += add;
      }
      if (relu_) value = value < T(0) ? V{} : value;  // NaN stays
      std::memcpy(to + i, &value, sizeof value);
    }
    if constexpr (kWidth > 1) {
      if (i < count) write_vectors<kWidth / 2>(sums + i, count - i, residual ? residual + i : nullptr, to + i);
    }
  }

  T scale_, shift_;
  const T* residual_;
  bool relu_;
};

}  // namespace cnnx::CNNX_ISA
