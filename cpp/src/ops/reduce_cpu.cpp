// Reductions on the CPU. Floating sums run in vectors over short runs and add those up in double.
#include "ops/reduce.h"

#include <algorithm>
#include <type_traits>

#include "kernels.h"
#include "parallel.h"
#include "rounding.h"

namespace cnnx::CNNX_ISA {
namespace {

constexpr int64_t kRun = 512;     // values summed in the element type before double takes over
constexpr int64_t kColumns = 64;  // columns kept in double accumulators at once

template <class T>
using Accumulator = std::conditional_t<std::is_integral_v<T>, uint64_t, double>;  // unsigned: integers wrap

template <class T>
Accumulator<T> sum_run(const T* x, int64_t n) {
  Accumulator<T> total = 0;
  for (int64_t at = 0; at < n; at += kRun) {
    using Partial = std::conditional_t<std::is_integral_v<T>, uint64_t, T>;
    Partial partial = 0;
    const int64_t end = std::min(n, at + kRun);
#pragma omp simd reduction(+ : partial)
    for (int64_t i = at; i < end; ++i) partial += static_cast<Partial>(x[i]);
    total += static_cast<Accumulator<T>>(partial);
  }
  return total;
}

/// One long row is cut into pieces of kElementGrain values; their sums are added in order.
template <class T>
void sum_long_row(int64_t n, const T* x, T* y) {
  constexpr int64_t kPieces = 256;
  Accumulator<T> pieces[kPieces];
  const int64_t piece = std::max(kElementGrain, ceil_div(n, kPieces));
  const int64_t count = ceil_div(n, piece);
  parallel_for(n, piece, [&](int64_t begin, int64_t end) { pieces[begin / piece] = sum_run(x + begin, end - begin); });
  Accumulator<T> total = 0;
  for (int64_t i = 0; i < count; ++i) total += pieces[i];
  *y = static_cast<T>(total);
}

template <class T>
void sum(const ReduceGeometry& g, const T* x, T* y) {
  if (g.inner == 1 && g.outer == 1) return sum_long_row(g.length, x, y);
  if (g.inner == 1) {
    parallel_for(g.outer, item_grain(g.length), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) y[o] = static_cast<T>(sum_run(x + o * g.length, g.length));
    });
    return;
  }
  const int64_t strips = ceil_div(g.inner, kColumns);
  parallel_for(g.outer * strips, item_grain(g.length * kColumns), [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t o = unit / strips, first = unit % strips * kColumns, n = std::min(kColumns, g.inner - first);
      Accumulator<T> totals[kColumns] = {};
      for (int64_t l = 0; l < g.length; ++l) {
        const T* row = x + (o * g.length + l) * g.inner + first;
        for (int64_t i = 0; i < n; ++i) totals[i] += static_cast<Accumulator<T>>(row[i]);
      }
      for (int64_t i = 0; i < n; ++i) y[o * g.inner + first + i] = static_cast<T>(totals[i]);
    }
  });
}

template <class T>
void extreme(const ReduceGeometry& g, int sign, const T* x, T* y, int64_t* index) {
  parallel_for(g.outer, item_grain(g.length * g.inner), [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      for (int64_t i = 0; i < g.inner; ++i) {
        const T* column = x + o * g.length * g.inner + i;
        T best = column[0];
        int64_t at = 0;
        for (int64_t l = 1; l < g.length; ++l) {
          const T value = column[l * g.inner];
          const bool better = sign > 0 ? value > best : value < best;
          if (better || (value != value && best == best)) {
            best = value;
            at = l;
          }
        }
        y[o * g.inner + i] = best;
        index[o * g.inner + i] = at;
      }
    }
  });
}

template <class T>
void repeat(const ReduceGeometry& g, const T* x, T* y) {
  if (g.inner == 1) {
    parallel_for(g.outer * g.length, kElementGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end;) {
        const int64_t o = i / g.length, next = std::min(end, (o + 1) * g.length);
        std::fill(y + i, y + next, x[o]);
        i = next;
      }
    });
    return;
  }
  parallel_for(g.outer * g.length, item_grain(g.inner), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      std::copy(x + row / g.length * g.inner, x + (row / g.length + 1) * g.inner, y + row * g.inner);
    }
  });
}

template <class T>
void scatter(const ReduceGeometry& g, const T* gy, const int64_t* index, T* gx) {
  parallel_for(g.outer, item_grain(g.length * g.inner), [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      T* block = gx + o * g.length * g.inner;
      std::fill(block, block + g.length * g.inner, T(0));
      for (int64_t i = 0; i < g.inner; ++i) block[index[o * g.inner + i] * g.inner + i] = gy[o * g.inner + i];
    }
  });
}

template <class T>
constexpr ReduceKernels<T> kTable{sum<T>, extreme<T>, repeat<T>, scatter<T>};

}  // namespace

template <>
const ReduceKernels<float>& table() {
  return kTable<float>;
}
template <>
const ReduceKernels<double>& table() {
  return kTable<double>;
}
template <>
const ReduceKernels<int64_t>& table() {
  return kTable<int64_t>;
}

}  // namespace cnnx::CNNX_ISA
