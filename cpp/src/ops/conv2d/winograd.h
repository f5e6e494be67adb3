// The transforms of Winograd's convolution F(4x4, 3x3): 4x4 outputs of a 3x3 filter from a 6x6 tile, by 36 products in
// place of 144 (Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016).
//
// In one dimension y = At [(G g) * (Bt d)]. The matrices follow from interpolation at the points 0, +-sqrt(1/2),
// +-sqrt(2) and infinity: in float32 these lose half as much to rounding as the usual 0, +-1, +-2. The gradient of g is
// Gt [(A gy) * (Bt d)] with the same matrices. In two dimensions each is applied to the rows and to the columns.
#pragma once

#include <numbers>

namespace cnnx::CNNX_ISA::winograd {

inline constexpr int kOutput = 4, kFilter = 3, kTile = kOutput + kFilter - 1, kProducts = kTile * kTile;

/// The points p = sqrt(1/2) and q = sqrt(2); p^2 = 1/2, q^2 = 2, p^3 = p / 2, q^3 = 2 q.
template <class T>
inline constexpr T kP = std::numbers::sqrt2_v<T> / 2;
template <class T>
inline constexpr T kQ = std::numbers::sqrt2_v<T>;

/// Bt d: 6 inputs to 6 values.
template <class T>
struct InputTransform {
  static constexpr int kFrom = kTile, kTo = kTile;
  template <class V>
  static void apply(const V* d, V* to) {
    const V even_p = d[4] - T(2) * d[2], odd_p = d[3] - T(2) * d[1];
    const V even_q = d[4] - T(0.5) * d[2], odd_q = d[3] - T(0.5) * d[1];
    to[0] = d[0] - T(2.5) * d[2] + d[4];
    to[1] = even_p + kP<T> * odd_p;
    to[2] = even_p - kP<T> * odd_p;
    to[3] = even_q + kQ<T> * odd_q;
    to[4] = even_q - kQ<T> * odd_q;
    to[5] = d[1] - T(2.5) * d[3] + d[5];
  }
};

/// G g: 3 weights to 6 values.
template <class T>
struct FilterTransform {
  static constexpr int kFrom = kFilter, kTo = kTile;
  template <class V>
  static void apply(const V* g, V* to) {
    const V even_p = (g[0] + T(0.5) * g[2]) * T(-2.0 / 3), odd_p = g[1] * (kP<T> * T(-2.0 / 3));
    const V even_q = (g[0] + T(2) * g[2]) * T(1.0 / 6), odd_q = g[1] * (kQ<T> * T(1.0 / 6));
    to[0] = g[0];
    to[1] = even_p + odd_p;
    to[2] = even_p - odd_p;
    to[3] = even_q + odd_q;
    to[4] = even_q - odd_q;
    to[5] = g[2];
  }
};

/// At m: 6 products to 4 outputs.
template <class T>
struct OutputTransform {
  static constexpr int kFrom = kTile, kTo = kOutput;
  template <class V>
  static void apply(const V* m, V* to) {
    const V sum_p = m[1] + m[2], sum_q = m[3] + m[4];
    const V difference_p = kP<T> * (m[1] - m[2]), difference_q = kQ<T> * (m[3] - m[4]);
    to[0] = m[0] + sum_p + sum_q;
    to[1] = difference_p + difference_q;
    to[2] = T(0.5) * sum_p + T(2) * sum_q;
    to[3] = T(0.5) * difference_p + T(2) * difference_q + m[5];
  }
};

/// A gy: 4 gradients of outputs to 6 values, the transpose of OutputTransform.
template <class T>
struct GradientTransform {
  static constexpr int kFrom = kOutput, kTo = kTile;
  template <class V>
  static void apply(const V* y, V* to) {
    const V even_p = y[0] + T(0.5) * y[2], odd_p = kP<T> * (y[1] + T(0.5) * y[3]);
    const V even_q = y[0] + T(2) * y[2], odd_q = kQ<T> * (y[1] + T(2) * y[3]);
    to[0] = y[0];
    to[1] = even_p + odd_p;
    to[2] = even_p - odd_p;
    to[3] = even_q + odd_q;
    to[4] = even_q - odd_q;
    to[5] = y[3];
  }
};

/// Gt m: 6 sums of products to 3 gradients of weights, the transpose of FilterTransform.
template <class T>
struct FilterGradientTransform {
  static constexpr int kFrom = kTile, kTo = kFilter;
  template <class V>
  static void apply(const V* m, V* to) {
    const V sum_p = (m[1] + m[2]) * T(-2.0 / 3), sum_q = (m[3] + m[4]) * T(1.0 / 6);
    to[0] = m[0] + sum_p + sum_q;
    to[1] = (m[1] - m[2]) * (kP<T> * T(-2.0 / 3)) + (m[3] - m[4]) * (kQ<T> * T(1.0 / 6));
    to[2] = T(0.5) * sum_p + T(2) * sum_q + m[5];
  }
};

/// A transform of rows, then of columns, of a tile whose value (i, j) get(i * kFrom + j, value) reads and whose result
/// (i, j) is given to put(i * kTo + j, value).
template <class V, class Transform, class Get, class Put>
inline void transform_tile(Get&& get, Put&& put) {
  constexpr int kFrom = Transform::kFrom, kTo = Transform::kTo;
  V middle[kTo][kFrom];
  for (int j = 0; j < kFrom; ++j) {
    V from[kFrom], to[kTo];
    for (int i = 0; i < kFrom; ++i) get(i * kFrom + j, from[i]);
    Transform::apply(from, to);
    for (int i = 0; i < kTo; ++i) middle[i][j] = to[i];
  }
  for (int i = 0; i < kTo; ++i) {
    V to[kTo];
    Transform::apply(middle[i], to);
    for (int j = 0; j < kTo; ++j) put(i * kTo + j, to[j]);
  }
}

}  // namespace cnnx::CNNX_ISA::winograd
