// The transforms of Winograd's convolutions (Lavin and Gray, "Fast algorithms for convolutional neural networks",
// 2016). F(m x m, r x r) makes m x m outputs of a filter of r x r from a tile of m + r - 1 inputs in each direction:
//
//   F(4x4, 3x3)  36 products of 6x6 tiles in place of 144
//   F(2x2, 5x5)  36 products of 6x6 tiles in place of 100
//   F(2x2, 3x3)  16 products of 4x4 tiles in place of 36
//
// In one dimension y = At [(G g) * (Bt d)]. The matrices follow from interpolation: with 6 points at 0, +-sqrt(1/2),
// +-sqrt(2) and infinity, which in float32 lose half as much to rounding as the usual 0, +-1, +-2; with 4 at 0, +-1 and
// infinity. Bt depends on the points alone. The gradient of g is Gt [(A gy) * (Bt d)] with the same matrices. In two
// dimensions each is applied to the rows and to the columns. Values are numbers on a GPU, vectors of them on the CPU.
#pragma once

#include <numbers>

namespace cnnx::CNNX_ISA::winograd {

/// What the convolutions with 6 points share. A transform takes kFrom values to kTo.
template <class T>
struct SixPoints {
  static constexpr int kTile = 6, kProducts = kTile * kTile;
  /// The points p and q; p^2 = 1/2, q^2 = 2, p^3 = p / 2, q^3 = 2 q.
  static constexpr T kP = std::numbers::sqrt2_v<T> / 2, kQ = std::numbers::sqrt2_v<T>;
  static constexpr T kScaleP = T(-2.0 / 3), kScaleQ = T(1.0 / 6);  // of G's rows

  /// Bt d: 6 inputs to 6 values.
  struct Input {
    static constexpr int kFrom = kTile, kTo = kTile;
    template <class V>
    static constexpr void apply(const V* d, V* to) {
      const V even_p = d[4] - T(2) * d[2], odd_p = d[3] - T(2) * d[1];
      const V even_q = d[4] - T(0.5) * d[2], odd_q = d[3] - T(0.5) * d[1];
      to[0] = d[0] - T(2.5) * d[2] + d[4];
      to[1] = even_p + kP * odd_p;
      to[2] = even_p - kP * odd_p;
      to[3] = even_q + kQ * odd_q;
      to[4] = even_q - kQ * odd_q;
      to[5] = d[1] - T(2.5) * d[3] + d[5];
    }
  };
};

/// F(4, 3).
template <class T>
struct F4x3 : SixPoints<T> {
  static constexpr int kOutput = 4, kFilter = 3, kTaps = kFilter * kFilter, kTile = SixPoints<T>::kTile;
  using SixPoints<T>::kP, SixPoints<T>::kQ, SixPoints<T>::kScaleP, SixPoints<T>::kScaleQ;

  /// G g: 3 weights to 6 values.
  struct Filter {
    static constexpr int kFrom = kFilter, kTo = kTile;
    template <class V>
    static constexpr void apply(const V* g, V* to) {
      const V even_p = (g[0] + T(0.5) * g[2]) * kScaleP, odd_p = g[1] * (kP * kScaleP);
      const V even_q = (g[0] + T(2) * g[2]) * kScaleQ, odd_q = g[1] * (kQ * kScaleQ);
      to[0] = g[0];
      to[1] = even_p + odd_p;
      to[2] = even_p - odd_p;
      to[3] = even_q + odd_q;
      to[4] = even_q - odd_q;
      to[5] = g[2];
    }
  };

  /// At m: 6 products to 4 outputs.
  struct Output {
    static constexpr int kFrom = kTile, kTo = kOutput;
    template <class V>
    static constexpr void apply(const V* m, V* to) {
      const V sum_p = m[1] + m[2], sum_q = m[3] + m[4];
      const V difference_p = kP * (m[1] - m[2]), difference_q = kQ * (m[3] - m[4]);
      to[0] = m[0] + sum_p + sum_q;
      to[1] = difference_p + difference_q;
      to[2] = T(0.5) * sum_p + T(2) * sum_q;
      to[3] = T(0.5) * difference_p + T(2) * difference_q + m[5];
    }
  };

  /// A gy: 4 gradients of outputs to 6 values, the transpose of Output.
  struct Gradient {
    static constexpr int kFrom = kOutput, kTo = kTile;
    template <class V>
    static constexpr void apply(const V* y, V* to) {
      const V even_p = y[0] + T(0.5) * y[2], odd_p = kP * (y[1] + T(0.5) * y[3]);
      const V even_q = y[0] + T(2) * y[2], odd_q = kQ * (y[1] + T(2) * y[3]);
      to[0] = y[0];
      to[1] = even_p + odd_p;
      to[2] = even_p - odd_p;
      to[3] = even_q + odd_q;
      to[4] = even_q - odd_q;
      to[5] = y[3];
    }
  };

  /// Gt m: 6 sums of products to 3 gradients of weights, the transpose of Filter.
  struct FilterGradient {
    static constexpr int kFrom = kTile, kTo = kFilter;
    template <class V>
    static constexpr void apply(const V* m, V* to) {
      const V sum_p = (m[1] + m[2]) * kScaleP, sum_q = (m[3] + m[4]) * kScaleQ;
      to[0] = m[0] + sum_p + sum_q;
      to[1] = (m[1] - m[2]) * (kP * kScaleP) + (m[3] - m[4]) * (kQ * kScaleQ);
      to[2] = T(0.5) * sum_p + T(2) * sum_q + m[5];
    }
  };
};

/// F(2, 5).
template <class T>
struct F2x5 : SixPoints<T> {
  static constexpr int kOutput = 2, kFilter = 5, kTaps = kFilter * kFilter, kTile = SixPoints<T>::kTile;
  using SixPoints<T>::kP, SixPoints<T>::kQ, SixPoints<T>::kScaleP, SixPoints<T>::kScaleQ;

  struct Filter {
    static constexpr int kFrom = kFilter, kTo = kTile;
    template <class V>
    static constexpr void apply(const V* g, V* to) {
      const V even_p = (g[0] + T(0.5) * g[2] + T(0.25) * g[4]) * kScaleP;
      const V odd_p = (g[1] + T(0.5) * g[3]) * (kP * kScaleP);
      const V even_q = (g[0] + T(2) * g[2] + T(4) * g[4]) * kScaleQ, odd_q = (g[1] + T(2) * g[3]) * (kQ * kScaleQ);
      to[0] = g[0];
      to[1] = even_p + odd_p;
      to[2] = even_p - odd_p;
      to[3] = even_q + odd_q;
      to[4] = even_q - odd_q;
      to[5] = g[4];
    }
  };
  struct Output {
    static constexpr int kFrom = kTile, kTo = kOutput;
    template <class V>
    static constexpr void apply(const V* m, V* to) {
      to[0] = m[0] + (m[1] + m[2]) + (m[3] + m[4]);
      to[1] = kP * (m[1] - m[2]) + kQ * (m[3] - m[4]) + m[5];
    }
  };
  struct Gradient {
    static constexpr int kFrom = kOutput, kTo = kTile;
    template <class V>
    static constexpr void apply(const V* y, V* to) {
      const V odd_p = kP * y[1], odd_q = kQ * y[1];
      to[0] = y[0];
      to[1] = y[0] + odd_p;
      to[2] = y[0] - odd_p;
      to[3] = y[0] + odd_q;
      to[4] = y[0] - odd_q;
      to[5] = y[1];
    }
  };
  struct FilterGradient {
    static constexpr int kFrom = kTile, kTo = kFilter;
    template <class V>
    static constexpr void apply(const V* m, V* to) {
      const V sum_p = (m[1] + m[2]) * kScaleP, difference_p = (m[1] - m[2]) * (kP * kScaleP);
      const V sum_q = (m[3] + m[4]) * kScaleQ, difference_q = (m[3] - m[4]) * (kQ * kScaleQ);
      to[0] = m[0] + sum_p + sum_q;
      to[1] = difference_p + difference_q;
      to[2] = T(0.5) * sum_p + T(2) * sum_q;
      to[3] = T(0.5) * difference_p + T(2) * difference_q;
      to[4] = T(0.25) * sum_p + T(4) * sum_q + m[5];
    }
  };
};

/// F(2, 3).
template <class T>
struct F2x3 {
  static constexpr int kOutput = 2, kFilter = 3, kTaps = kFilter * kFilter;
  static constexpr int kTile = kOutput + kFilter - 1, kProducts = kTile * kTile;

  struct Input {
    static constexpr int kFrom = kTile, kTo = kTile;
    template <class V>
    static constexpr void apply(const V* d, V* to) {
      to[0] = d[0] - d[2];
      to[1] = d[1] + d[2];
      to[2] = d[2] - d[1];
      to[3] = d[1] - d[3];
    }
  };
  struct Filter {
    static constexpr int kFrom = kFilter, kTo = kTile;
    template <class V>
    static constexpr void apply(const V* g, V* to) {
      const V even = T(0.5) * (g[0] + g[2]), odd = T(0.5) * g[1];
      to[0] = g[0];
      to[1] = even + odd;
      to[2] = even - odd;
      to[3] = g[2];
    }
  };
  struct Output {
    static constexpr int kFrom = kTile, kTo = kOutput;
    template <class V>
    static constexpr void apply(const V* m, V* to) {
      to[0] = m[0] + m[1] + m[2];
      to[1] = m[1] - m[2] - m[3];
    }
  };
  struct Gradient {
    static constexpr int kFrom = kOutput, kTo = kTile;
    template <class V>
    static constexpr void apply(const V* y, V* to) {
      to[0] = y[0];
      to[1] = y[0] + y[1];
      to[2] = y[0] - y[1];
      to[3] = -y[1];
    }
  };
  struct FilterGradient {
    static constexpr int kFrom = kTile, kTo = kFilter;
    template <class V>
    static constexpr void apply(const V* m, V* to) {
      const V sum = T(0.5) * (m[1] + m[2]);
      to[0] = m[0] + sum;
      to[1] = T(0.5) * (m[1] - m[2]);
      to[2] = sum + m[3];
    }
  };
};

}  // namespace cnnx::CNNX_ISA::winograd
