// The last step of convolution's forward pass, shared by its algorithms.
#pragma once

#include <array>

#include "ops/conv2d/conv2d.h"
#include "ops/simd.h"

namespace cnnx::CNNX_ISA {

/// The epilogue of one filter, applied to runs of its sums.
template <class T>
class FilterEpilogue {
 public:
  FilterEpilogue() = default;
  FilterEpilogue(const ConvEpilogue<T>& e, int64_t k)
      : scale_(e.scale ? e.scale[k] : T(1)),
        shift_(e.shift ? e.shift[k] : T(0)),
        residual_(e.residual),
        relu_(e.relu) {}

  /// y[at + i] for i < count from sums[i]; y + at may be where the sums are. Touches no other values.
  void write(const T* sums, int64_t count, int64_t at, T* y) const { write_vectors<kLanes<T>>(sums, count, at, y); }

  /// The same for as many values as V has lanes.
  template <class V>
  void write_vector(V value, int64_t at, T* y) const {
    value = value * scale_ + shift_;
    if (residual_) {
      V add;
      std::memcpy(&add, residual_ + at, sizeof add);
      value += add;
    }
    if (relu_) value = value < T(0) ? V{} : value;  // NaN stays
    std::memcpy(y + at, &value, sizeof value);
  }

 private:
  /// Whole vectors, then those of half the width for what is left: rows of small images are short.
  template <int kWidth>
  void write_vectors(const T* sums, int64_t count, int64_t at, T* y) const {
    int64_t i = 0;
    for (; i + kWidth <= count; i += kWidth) {
      typename VectorOf<T, kWidth>::type value;
      std::memcpy(&value, sums + i, sizeof value);
      write_vector(value, at + i, y);
    }
    if constexpr (kWidth > 1) {
      if (i < count) write_vectors<kWidth / 2>(sums + i, count - i, at + i, y);
    }
  }

  T scale_ = 1, shift_ = 0;
  const T* residual_ = nullptr;
  bool relu_ = false;
};

/// Those of the first `count` filters, which may be as many as a vector has lanes.
template <class T>
std::array<FilterEpilogue<T>, kLanes<T>> filter_epilogues(const ConvEpilogue<T>& e, int64_t count) {
  std::array<FilterEpilogue<T>, kLanes<T>> all;
  for (int64_t k = 0; k < count; ++k) all[static_cast<size_t>(k)] = FilterEpilogue<T>(e, k);
  return all;
}

}  // namespace cnnx::CNNX_ISA
