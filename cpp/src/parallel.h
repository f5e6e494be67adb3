// Parallel loops: chunks of a fixed size, so that results do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "denormals.h"
#include "rounding.h"
#include "thread_pool.h"

namespace cnnx {

/// Threads for the next loop: 1 inside another one, and in a forked child, which inherits none.
int region_threads();

/// Runs fn(task, slot) for every task in [0, n), each with memory of its own at slot < slots: no two calls with one
/// slot run at a time. Neighbouring tasks go to one thread as long as others keep up. Denormals are flushed to zero
/// inside. fn must not throw.
template <class F>
void parallel_slots(int64_t n, int slots, const F& fn) {
  const auto threads = static_cast<int>(std::min<int64_t>({n, slots, n > 1 ? region_threads() : 1}));
  if (threads > 1) {
    const auto call = [](const void* body, int64_t task, int slot) { (*static_cast<const F*>(body))(task, slot); };
    if (try_run_chunks(n, threads, call, &fn)) return;
  }
  const FlushDenormals flush;
  for (int64_t task = 0; task < n; ++task) fn(task, 0);
}

/// Calls fn(begin, end) on [0, n) cut into chunks of `grain` (the last may be shorter). The cut depends on n and grain
/// only. Otherwise as above.
template <class F>
void parallel_for(int64_t n, int64_t grain, const F& fn) {
  const auto chunk = [&](int64_t i, int) { fn(i * grain, std::min(n, (i + 1) * grain)); };
  parallel_slots(ceil_div(n, grain), std::numeric_limits<int>::max(), chunk);
}

/// Values an element-wise loop hands to one thread at least; below two of these a loop stays on the caller's thread.
inline constexpr int64_t kElementGrain = 32768;

/// The grain that gives each chunk about kElementGrain values when one item covers `values_per_item`.
inline int64_t item_grain(int64_t values_per_item) {
  return std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, values_per_item));
}

}  // namespace cnnx
