// Checks of values on the device: what fails is noted there, and raised when the host waits for the device anyhow.
//
// A kernel that checks makes its values harmless as well, so that what runs before the host looks stays inside of its
// buffers.
#pragma once

#include <climits>

#include "cuda/reduce.h"

namespace cnnx::cuda {

/// The first check that failed since the host last looked: the message is "[op] text" with the values for its {}.
/// It lies in memory of the host that the device writes.
struct FailedCheck {
  const char* op;  // null: none failed
  const char* text;
  long long values[3];
};

/// That of the calling thread's device.
FailedCheck* failed_check();

/// op over f(i) of all i of [0, n), `start` of none: one block hands the result to finish(), several write a part each.
template <class V, class F, class Op, class Finish>
__global__ void __launch_bounds__(kThreads) reduce_kernel(int64_t n, F f, Op op, V start, V* parts, Finish finish) {
  V value = start;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < n; i += step) value = op(value, f(i));
  value = reduce_block(value, op);
  if (threadIdx.x != 0) return;
  if (gridDim.x > 1) {
    parts[blockIdx.x] = value;
  } else {
    finish(value);
  }
}

/// finish(op over f(i) of all i), in an order that n alone decides, by one thread.
template <class V, class F, class Op, class Finish>
void reduce_all(int64_t n, const F& f, const Op& op, V start, const Finish& finish) {
  constexpr int64_t kEach = 32, kMostBlocks = 1024;  // values of a thread, at least; blocks
  const int64_t blocks = std::clamp<int64_t>(ceil_div(n, kEach * kThreads), 1, kMostBlocks);
  const Scratch parts(blocks > 1 ? blocks * static_cast<int64_t>(sizeof(V)) : 0);
  V* const part = parts.as<V>();
  launch(reduce_kernel<V, F, Op, Finish>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, n, f, op, start, part,
         finish);
  if (blocks == 1) return;
  const auto read = [part] __device__(int64_t i) { return part[i]; };
  launch(reduce_kernel<V, decltype(read), Op, Finish>, dim3(1), dim3(kThreads), 0, blocks, read, op, start, part,
         finish);
}

struct Smaller {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return b < a ? b : a;
  }
};

/// Calls f(i), which says whether value i is as it must be, for all i, and notes the first that is not: describe(check,
/// i) sets what the message tells.
template <class F, class Describe>
void check_all(int64_t n, const F& f, const Describe& describe) {
  if (n == 0) return;
  FailedCheck* const failed = failed_check();
  reduce_all(
      n, [=] __device__(int64_t i) { return f(i) ? LLONG_MAX : static_cast<long long>(i); }, Smaller(), LLONG_MAX,
      [=] __device__(long long first) {
        if (first == LLONG_MAX || failed->op) return;
        FailedCheck check{};
        describe(&check, first);
        failed->text = check.text;
        for (int i = 0; i < 3; ++i) failed->values[i] = check.values[i];
        failed->op = check.op;
      });
}

}  // namespace cnnx::cuda
