// Random bits on the CPU: Philox for several counters side by side, in vectors.
#pragma once

#include "ops/simd.h"
#include "parallel.h"
#include "random.h"

namespace cnnx::CNNX_ISA {

constexpr int kCounters = 16;
constexpr int kRandomValues = 4 * kCounters;

/// The bits of kCounters counters from `first` on, as Philox gives them one by one.
inline void random_bits(const Philox& stream, uint64_t first, uint32_t* bits) {
  uint32_t a[kCounters], b[kCounters], c[kCounters], d[kCounters];
  for (int i = 0; i < kCounters; ++i) {
    const uint64_t counter = first + static_cast<uint64_t>(i);
    a[i] = static_cast<uint32_t>(counter);
    b[i] = static_cast<uint32_t>(counter >> 32);
    c[i] = static_cast<uint32_t>(stream.offset);
    d[i] = static_cast<uint32_t>(stream.offset >> 32);
  }
  Philox::Keys keys(stream.seed);
  for (int round = 0; round < Philox::kRounds; ++round, keys.advance()) {
#pragma omp simd
    for (int i = 0; i < kCounters; ++i) Philox::mix(keys, a[i], b[i], c[i], d[i]);
  }
  for (int i = 0; i < kCounters; ++i) {
    bits[4 * i] = a[i];
    bits[4 * i + 1] = b[i];
    bits[4 * i + 2] = c[i];
    bits[4 * i + 3] = d[i];
  }
}

/// Calls fn(first value, number of values, bits), for runs of up to kRandomValues of the n values of a stream.
template <class F>
void for_each_bits(int64_t n, const Philox& stream, F fn) {
  constexpr int64_t kRuns = 128;
  parallel_for(ceil_div(n, kRandomValues), kRuns, [&](int64_t begin, int64_t end) {
    uint32_t bits[kRandomValues];
    for (int64_t run = begin; run < end; ++run) {
      random_bits(stream, static_cast<uint64_t>(run) * kCounters, bits);
      fn(run * kRandomValues, std::min<int64_t>(kRandomValues, n - run * kRandomValues), bits);
    }
  });
}

}  // namespace cnnx::CNNX_ISA
