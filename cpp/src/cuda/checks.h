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
