// Group, layer and instance normalization on the CPU.
//
// A row of at most kWideRow values is one thread's and stays in its cache between the passes over it; wider rows are
// shared by the threads, cut into segments. Sums run along segments in T and over them in double, always in the same
// order. With m and s the mean and 1 / deviation of a row of L values, z = (x - m) s and g = gy w:
//   gx = s (g - sum(g) / L - z sum(g z) / L),   gw = sum of gy z,   gb = sum of gy.
// Weights belong to planes; where planes are single values (layer normalization) loops run across weights in place.
#include "ops/group_norm.h"

#include <algorithm>
#include <cmath>

#include "kernels.h"
#include "parallel.h"
#include "rounding.h"

namespace cnnx::CNNX_ISA {
namespace {

constexpr int64_t kSegment = 4096;
constexpr int64_t kWideRow = 65536;
constexpr int64_t kParts = 16;  // runs of images with sums of their own for the gradients of single-value planes

struct Sums {  // mean and sum of squares of a segment, or sums of gy w and gy w (x - m)
  double a, b;
};

bool is_wide(const GroupNormGeometry& g) { return g.row_values() > kWideRow; }

/// Calls fn(row) for all rows: in parallel unless they are wide, for then fn itself is.
template <class F>
void for_each_row(const GroupNormGeometry& g, F fn) {
  if (is_wide(g)) {
    for (int64_t row = 0; row < g.rows(); ++row) fn(row);
  } else {
    parallel_for(g.rows(), item_grain(g.row_values()), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) fn(row);
    });
  }
}

/// Calls fn(segment, begin, end) for segments of [0, n), in parallel where a region is not running already.
template <class F>
void for_each_segment(int64_t n, F fn) {
  if (n <= kSegment) return fn(0, 0, n);
  parallel_for(ceil_div(n, kSegment), kElementGrain / kSegment, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) fn(i, i * kSegment, std::min(n, (i + 1) * kSegment));
  });
}

double inverse_deviation(const GroupNormGeometry& g, double var) { return 1 / std::sqrt(var + g.eps); }

// ---- Forward

/// Mean and sum of squares about it of [begin, end). Not inlined: inside a lambda of a parallel loop GCC 12 leaves such
/// loops scalar.
template <class T>
[[gnu::noinline]] Sums segment_statistics(const T* x, int64_t begin, int64_t end) {
  const auto length = static_cast<T>(end - begin);
  T sum = 0, rest = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = begin; i < end; ++i) sum += x[i];
  const T m = sum / length;  // nearly the mean: what rounding left over is found in the second pass
#pragma omp simd reduction(+ : rest, squares)
  for (int64_t i = begin; i < end; ++i) rest += x[i] - m, squares += (x[i] - m) * (x[i] - m);
  const double left = static_cast<double>(rest / length);
  return {static_cast<double>(m) + left, static_cast<double>(squares) - left * static_cast<double>(rest)};
}

/// Mean and biased variance of n values, from those of segments; `scratch` has room for a pair a segment.
template <class T>
Sums statistics(int64_t n, const T* x, Sums* scratch) {
  for_each_segment(
      n, [=](int64_t segment, int64_t begin, int64_t end) { scratch[segment] = segment_statistics(x, begin, end); });
  double mean = 0, squares = 0, count = 0;
  for (int64_t segment = 0; segment < ceil_div(n, kSegment); ++segment) {
    const auto more = static_cast<double>(std::min(kSegment, n - segment * kSegment));
    const double delta = scratch[segment].a - mean, total = count + more;
    mean += delta * (more / total);
    squares += scratch[segment].b + delta * delta * (count * more / total);
    count = total;
  }
  return {mean, squares / count};
}

/// y[i] = (x[i] - m) s w + b for values [begin, end) of a row, whose weights and biases w and b point to.
template <class T>
[[gnu::noinline]] void normalize(const GroupNormGeometry& g, int64_t begin, int64_t end, const T* x, T m, T s,
                                 const T* w, const T* b, T* y) {
  if (g.plane == 1 && w) {
    if (b) {
      for (int64_t i = begin; i < end; ++i) y[i] = (x[i] - m) * (s * w[i]) + b[i];
    } else {
      for (int64_t i = begin; i < end; ++i) y[i] = (x[i] - m) * (s * w[i]);
    }
    return;
  }
  if (g.plane == 1 && b) {
    for (int64_t i = begin; i < end; ++i) y[i] = (x[i] - m) * s + b[i];
    return;
  }
  const int64_t length = w || b ? g.plane : g.row_values();
  for (int64_t at = begin; at < end;) {
    const int64_t c = at / length, stop = std::min(end, (c + 1) * length);
    const T scale = w ? s * w[c] : s, shift = b ? b[c] : T(0);
    for (int64_t i = at; i < stop; ++i) y[i] = (x[i] - m) * scale + shift;
    at = stop;
  }
}

int64_t forward_bytes(const GroupNormGeometry& g) {
  return is_wide(g) ? ceil_div(g.row_values(), kSegment) * static_cast<int64_t>(sizeof(Sums)) : 0;
}

template <class T>
void forward(const GroupNormGeometry& g, const T* x, const T* w, const T* b, T* y, T* mean, T* var, void* workspace) {
  const int64_t n = g.row_values();
  if (n == 0) return;
  for_each_row(g, [&](int64_t row) {
    Sums narrow[kWideRow / kSegment];
    const Sums moments = statistics(n, x + row * n, is_wide(g) ? static_cast<Sums*>(workspace) : narrow);
    const int64_t first = row % g.groups * g.channels;
    mean[row] = static_cast<T>(moments.a);
    var[row] = static_cast<T>(moments.b);
    const T m = mean[row], s = static_cast<T>(inverse_deviation(g, static_cast<double>(var[row])));
    for_each_segment(n, [&](int64_t, int64_t begin, int64_t end) {
      normalize(g, begin, end, x + row * n, m, s, w ? w + first : nullptr, b ? b + first : nullptr, y + row * n);
    });
  });
}

// ---- Backward

/// The sums of gy w and gy w (x - m) over [begin, end), w by value or null.
template <class T>
[[gnu::noinline]] Sums weighted_sums(int64_t begin, int64_t end, const T* x, const T* gy, const T* w, T m) {
  Sums total{0, 0};
  for (int64_t at = begin; at < end; at += kSegment) {
    const int64_t stop = std::min(end, at + kSegment);
    T a = 0, b = 0;
    if (w) {
#pragma omp simd reduction(+ : a, b)
      for (int64_t i = at; i < stop; ++i) a += gy[i] * w[i], b += gy[i] * w[i] * (x[i] - m);
    } else {
#pragma omp simd reduction(+ : a, b)
      for (int64_t i = at; i < stop; ++i) a += gy[i], b += gy[i] * (x[i] - m);
    }
    total.a += static_cast<double>(a);
    total.b += static_cast<double>(b);
  }
  return total;
}

/// gx = scale gy - offset - (x - m) along, with scale s w, offset s sum(g) / L, along s^3 sum(g (x - m)) / L.
template <class T>
struct Slope {
  T m, s, offset, along;
  Slope(const GroupNormGeometry& g, T mean, T var, Sums row) : m(mean) {
    const double inverse = inverse_deviation(g, static_cast<double>(var)), count = static_cast<double>(g.row_values());
    s = static_cast<T>(inverse);
    offset = static_cast<T>(inverse * row.a / count);
    along = static_cast<T>(inverse * inverse * inverse * row.b / count);
  }
};

/// Segments of a plane: where the planes of one channel and image are cut.
int64_t plane_segments(const GroupNormGeometry& g) { return ceil_div(g.plane, kSegment); }
/// Images whose gradients of single-value planes are summed up together.
int64_t images_a_part(const GroupNormGeometry& g) {
  const int64_t parts = std::clamp<int64_t>(g.batch * g.weights() / kElementGrain, 1, kParts);
  return std::max<int64_t>(1, ceil_div(g.batch, parts));
}

template <class T>
int64_t backward_bytes(const GroupNormGeometry& g) {
  constexpr auto kPair = static_cast<int64_t>(sizeof(Sums));
  if (g.plane > 1) return g.batch * g.weights() * plane_segments(g) * kPair;
  const int64_t parts = ceil_div(g.batch, images_a_part(g));
  return (is_wide(g) ? ceil_div(g.row_values(), kSegment) * kPair : 0) +
         parts * 2 * g.weights() * static_cast<int64_t>(sizeof(T));
}

/// Planes of several values: sums of each segment of each plane first, of which all else is made.
template <class T>
void backward_planes(const GroupNormGeometry& g, const T* x, const T* mean, const T* var, const T* w, const T* gy,
                     T* gx, T* gw, T* gb, Sums* partial) {
  const int64_t segments = plane_segments(g), units = g.channels * segments, n = g.row_values();
  const int64_t grain = item_grain(std::min(kSegment, g.plane));
  const auto for_each_unit = [&](auto fn) {  // fn(channel of the row, begin, end, unit)
    const auto some = [&](int64_t first, int64_t last) {
      for (int64_t unit = first; unit < last; ++unit) {
        const int64_t c = unit / segments, begin = unit % segments * kSegment;
        fn(c, c * g.plane + begin, c * g.plane + std::min(g.plane, begin + kSegment), unit);
      }
    };
    units <= grain ? some(0, units) : parallel_for(units, grain, some);
  };
  for_each_row(g, [&](int64_t row) {
    const T *const rx = x + row * n, *const rgy = gy + row * n,
                   *const rw = w ? w + row % g.groups * g.channels : nullptr;
    Sums* const own = partial + row * units;
    for_each_unit([&](int64_t, int64_t begin, int64_t end, int64_t unit) {
      own[unit] = weighted_sums<T>(begin, end, rx, rgy, nullptr, mean[row]);
    });
    if (!gx) return;
    Sums total{0, 0};
    for (int64_t unit = 0; unit < units; ++unit) {
      const double weight = rw ? static_cast<double>(rw[unit / segments]) : 1;
      total.a += weight * own[unit].a;
      total.b += weight * own[unit].b;
    }
    const Slope<T> slope(g, mean[row], var[row], total);
    T* const out = gx + row * n;
    for_each_unit([&](int64_t c, int64_t begin, int64_t end, int64_t) {
      const T scale = rw ? slope.s * rw[c] : slope.s, m = slope.m, offset = slope.offset, along = slope.along;
      for (int64_t i = begin; i < end; ++i) out[i] = scale * rgy[i] - offset - (rx[i] - m) * along;
    });
  });
  if (!gw && !gb) return;
  parallel_for(g.weights(), item_grain(g.batch * segments), [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c) {
      double weight = 0, bias = 0;
      for (int64_t row = c / g.channels; row < g.rows(); row += g.groups) {
        const double s = inverse_deviation(g, static_cast<double>(var[row]));
        for (int64_t i = 0; i < segments; ++i) {
          const Sums& sum = partial[row * units + c % g.channels * segments + i];
          weight += s * sum.b;
          bias += sum.a;
        }
      }
      if (gw) gw[c] = static_cast<T>(weight);
      if (gb) gb[c] = static_cast<T>(bias);
    }
  });
}

/// One row of single-value planes; adds to the sums gw and gb of its part, which may be null.
template <class T>
void backward_row(const GroupNormGeometry& g, const T* x, const T* gy, const T* w, T mean, T var, T* gx, T* gw, T* gb,
                  Sums* scratch) {
  const int64_t n = g.row_values();
  Sums total{0, 0};
  if (gx) {
    for_each_segment(n, [=](int64_t segment, int64_t begin, int64_t end) {
      scratch[segment] = weighted_sums(begin, end, x, gy, w, mean);
    });
    for (int64_t segment = 0; segment < ceil_div(n, kSegment); ++segment) {
      total.a += scratch[segment].a;
      total.b += scratch[segment].b;
    }
  }
  const Slope<T> slope(g, mean, var, total);
  for_each_segment(n, [=, &slope](int64_t, int64_t begin, int64_t end) {
    const T m = slope.m, s = slope.s, offset = slope.offset, along = slope.along;
    if (gx && w) {
      for (int64_t i = begin; i < end; ++i) gx[i] = s * w[i] * gy[i] - offset - (x[i] - m) * along;
    } else if (gx) {
      for (int64_t i = begin; i < end; ++i) gx[i] = s * gy[i] - offset - (x[i] - m) * along;
    }
    if (gw) {
      for (int64_t i = begin; i < end; ++i) gw[i] += gy[i] * ((x[i] - m) * s);
    }
    if (gb) {
      for (int64_t i = begin; i < end; ++i) gb[i] += gy[i];
    }
  });
}

/// Planes of single values: runs of images, each with sums of its own for gw and gb.
template <class T>
void backward_values(const GroupNormGeometry& g, const T* x, const T* mean, const T* var, const T* w, const T* gy,
                     T* gx, T* gw, T* gb, void* workspace) {
  const int64_t n = g.row_values(), weights = g.weights(), run = images_a_part(g), parts = ceil_div(g.batch, run);
  Sums* const wide = static_cast<Sums*>(workspace);
  T* const partial = reinterpret_cast<T*>(wide + (is_wide(g) ? ceil_div(n, kSegment) : 0));
  const auto work = [&](int64_t part) {
    Sums narrow[kWideRow / kSegment];
    T *const part_w = gw ? partial + part * 2 * weights : nullptr, *const part_b =
                                                                       gb ? partial + (part * 2 + 1) * weights
                                                                          : nullptr;
    if (part_w) std::fill(part_w, part_w + weights, T(0));
    if (part_b) std::fill(part_b, part_b + weights, T(0));
    for (int64_t row = part * run * g.groups; row < std::min(g.batch, (part + 1) * run) * g.groups; ++row) {
      const int64_t first = row % g.groups * n;
      backward_row(g, x + row * n, gy + row * n, w ? w + first : nullptr, mean[row], var[row],
                   gx ? gx + row * n : nullptr, part_w ? part_w + first : nullptr, part_b ? part_b + first : nullptr,
                   is_wide(g) ? wide : narrow);
    }
  };
  if (is_wide(g)) {
    for (int64_t part = 0; part < parts; ++part) work(part);
  } else {
    parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) work(part);
    });
  }
  if (!gw && !gb) return;
  parallel_for(weights, item_grain(parts), [&](int64_t begin, int64_t end) {
    for (T* const out : {gw, gb}) {
      if (!out) continue;
      std::fill(out + begin, out + end, T(0));
      for (int64_t part = 0; part < parts; ++part) {
        const T* const from = partial + (part * 2 + (out == gb)) * weights;
        for (int64_t i = begin; i < end; ++i) out[i] += from[i];
      }
    }
  });
}

template <class T>
void backward(const GroupNormGeometry& g, const T* x, const T* mean, const T* var, const T* w, const T* gy, T* gx,
              T* gw, T* gb, void* workspace) {
  if (g.plane == 1) {
    backward_values(g, x, mean, var, w, gy, gx, gw, gb, workspace);
  } else {
    backward_planes(g, x, mean, var, w, gy, gx, gw, gb, static_cast<Sums*>(workspace));
  }
}

template <class T>
void blend(const GroupNormGeometry& g, double momentum, double factor, const T* statistics, T* running) {
  for (int64_t c = 0; c < g.groups; ++c) {
    double sum = 0;
    for (int64_t n = 0; n < g.batch; ++n) sum += static_cast<double>(statistics[n * g.groups + c]);
    running[c] = static_cast<T>((1 - momentum) * static_cast<double>(running[c]) +
                                momentum * factor * sum / static_cast<double>(g.batch));
  }
}

template <class T>
constexpr GroupNormKernels<T> kTable{forward_bytes, forward<T>, backward_bytes<T>, backward<T>, blend<T>};

}  // namespace

template <>
const GroupNormKernels<float>& table() {
  return kTable<float>;
}
template <>
const GroupNormKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
