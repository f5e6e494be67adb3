// Local response normalization on the CPU, for a block of positions through all channels at a time.
//
// With s = k + alpha / size * (sum of x^2 over the window): y = x s^-beta, and
// gx[c] = gy[c] s[c]^-beta - 2 alpha beta / size * x[c] * (sum of gy x s^(-beta - 1) over the channels whose window has
// c).
#include "ops/local_response_norm.h"

#include <algorithm>
#include <cmath>

#include "kernels.h"
#include "ops/simd.h"
#include "ops/vmath.h"
#include "parallel.h"
#include "rounding.h"

namespace cnnx::CNNX_ISA {
namespace {

constexpr int64_t kBlock = 128;  // positions

/// s of channel c for `count` positions of one image, which `x` points to.
template <class T>
void window_scale(const LrnGeometry& g, const T* x, int64_t c, int64_t count, T* s) {
  const int64_t first = std::max<int64_t>(0, c - g.size / 2), last = std::min(g.channels - 1, c + (g.size - 1) / 2);
  std::fill(s, s + count, T(0));
  for (int64_t i = first; i <= last; ++i) {
    const T* values = x + i * g.plane;
    for (int64_t j = 0; j < count; ++j) s[j] += values[j] * values[j];
  }
  const auto factor = static_cast<T>(g.alpha / static_cast<double>(g.size)), k = static_cast<T>(g.k);
  for (int64_t j = 0; j < count; ++j) s[j] = k + factor * s[j];
}

/// power[j] = s[j]^-beta.
template <class T>
void negative_power(double beta, int64_t count, const T* s, T* power) {
  if (beta == 0.75) {
    for (int64_t j = 0; j < count; ++j) {
      const T root = std::sqrt(s[j]);
      power[j] = T(1) / (root * std::sqrt(root));
    }
  } else {
    const auto exponent = static_cast<T>(-beta);
    for (int64_t j = 0; j < count; ++j) power[j] = std::pow(s[j], exponent);
  }
}

/// Calls fn(offset of the first value, positions, slot) for all blocks of all images.
template <class F>
void for_each_block(const LrnGeometry& g, F&& fn) {
  const int64_t blocks = ceil_div(g.plane, kBlock);
  parallel_slots(g.batch * blocks, g.threads, [&](int64_t i, int slot) {
    const int64_t at = i % blocks * kBlock;
    fn(i / blocks * g.channels * g.plane + at, std::min(kBlock, g.plane - at), slot);
  });
}

template <class T>
void forward(const LrnGeometry& g, const T* x, T* y, void*) {
  for_each_block(g, [&](int64_t offset, int64_t count, int) {
    T s[kBlock], power[kBlock];
    for (int64_t c = 0; c < g.channels; ++c) {
      window_scale(g, x + offset, c, count, s);
      negative_power(g.beta, count, s, power);
      const int64_t at = offset + c * g.plane;
      for (int64_t j = 0; j < count; ++j) y[at + j] = x[at + j] * power[j];
    }
  });
}

/// Rows of gy x s^(-beta - 1) that are kept: a window's, but no more than there are channels.
int64_t ring_rows(const LrnGeometry& g) { return std::max<int64_t>(1, std::min(g.size, g.channels)); }

template <class T>
void backward(const LrnGeometry& g, const T* x, const T* gy, T* gx, void* workspace) {
  const int64_t rows = ring_rows(g), ahead = std::min(g.size / 2, g.channels), behind = (g.size - 1) / 2;
  const auto factor = static_cast<T>(2 * g.alpha * g.beta / static_cast<double>(g.size));
  for_each_block(g, [&](int64_t offset, int64_t count, int slot) {
    T* const ring = static_cast<T*>(workspace) + slot * rows * kBlock;
    T s[kBlock], power[kBlock];
    for (int64_t step = 0; step < g.channels + ahead; ++step) {
      if (step < g.channels) {  // what channel `step` sends to its window, and its own part of the gradient
        const int64_t at = offset + step * g.plane;
        T* const sent = ring + step % rows * kBlock;
        window_scale(g, x + offset, step, count, s);
        negative_power(g.beta, count, s, power);
        for (int64_t j = 0; j < count; ++j) {
          gx[at + j] = gy[at + j] * power[j];
          sent[j] = gx[at + j] * x[at + j] / s[j];
        }
      }
      const int64_t c = step - ahead;
      if (c < 0) continue;
      const int64_t first = std::max<int64_t>(0, c - behind), last = std::min(g.channels - 1, c + ahead);
      for (int64_t j = 0; j < count; j += kLanes<T>) {  // in registers: GCC 12 turns sums in memory into scalar code
        Vector<T> sum = {};
        for (int64_t i = first, row = first % rows; i <= last; ++i, row = row + 1 < rows ? row + 1 : 0) {
          sum += load(ring + row * kBlock + j);
        }
        store(sum, s + j);
      }
      const int64_t at = offset + c * g.plane;
      for (int64_t j = 0; j < count; ++j) gx[at + j] -= factor * x[at + j] * s[j];
    }
  });
}

template <class T>
int64_t workspace_bytes(const LrnGeometry& g) {
  return g.threads * ring_rows(g) * kBlock * static_cast<int64_t>(sizeof(T));
}

template <class T>
constexpr LrnKernels<T> kTable{workspace_bytes<T>, forward<T>, backward<T>};

}  // namespace

template <>
const LrnKernels<float>& table() {
  return kTable<float>;
}
template <>
const LrnKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
