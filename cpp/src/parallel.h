// Parallel loops: chunks of a fixed size, so that results do not depend on the number of threads.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

#include "denormals.h"
#include "rounding.h"

namespace cnnx {

/// Threads for the next parallel region: 1 inside one, and in a forked child (whose OpenMP runtime must not be
/// touched).
int region_threads();

/// Calls fn(begin, end) on [0, n) cut into chunks of `grain` (the last may be shorter). The cut depends on n and grain
/// only. Denormals are flushed to zero inside. fn must not throw.
template <class F>
void parallel_for(int64_t n, int64_t grain, F&& fn) {
  if (n <= 0) return;
  const int64_t chunks = ceil_div(n, grain);
  const int threads = static_cast<int>(std::min<int64_t>(chunks, chunks > 1 ? region_threads() : 1));
  if (threads <= 1) {
    const FlushDenormals flush;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) fn(chunk * grain, std::min(n, (chunk + 1) * grain));
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    const FlushDenormals flush;
#pragma omp for schedule(static)
    for (int64_t chunk = 0; chunk < chunks; ++chunk) fn(chunk * grain, std::min(n, (chunk + 1) * grain));
  }
}

/// The same for tasks that each need memory of their own: calls fn(task, slot), slot < slots, on at most `slots`
/// threads; no two calls with one slot run at a time. Neighbouring tasks go to one thread, as those of parallel_for do.
template <class F>
void parallel_slots(int64_t n, int slots, F&& fn) {
  const auto threads = static_cast<int>(std::min<int64_t>({n, slots, n > 1 ? region_threads() : 1}));
  if (threads <= 1) {
    const FlushDenormals flush;
    for (int64_t task = 0; task < n; ++task) fn(task, 0);
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    const FlushDenormals flush;
    const int slot = omp_get_thread_num();
#pragma omp for schedule(static)
    for (int64_t task = 0; task < n; ++task) fn(task, slot);
  }
}

/// Values an element-wise loop hands to one thread at least; below two of these a loop stays on the caller's thread.
inline constexpr int64_t kElementGrain = 32768;

/// The grain that gives each chunk about kElementGrain values when one item covers `values_per_item`.
inline int64_t item_grain(int64_t values_per_item) {
  return std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, values_per_item));
}

}  // namespace cnnx
