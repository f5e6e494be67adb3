// The GIL, let go and taken again so that daemon threads may still be in the library when Python ends.
//
// Until 3.14, Python ends such a thread where it next wants the GIL, by unwinding its stack: through destructors, which
// must let nothing pass, and which would drop Python objects. Here it stops for ever instead, as in 3.14, and the
// process ends without it.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>

namespace cnnx::bindings {

/// Calls fn, which may wait for the GIL. What passes it beside C++'s exceptions is the end of the thread.
template <class F>
auto until_exit(F&& fn) {
  try {
    return fn();
  } catch (const std::exception&) {
    throw;
  } catch (...) {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
}

class GilRelease {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  ~GilRelease() {
    until_exit([this] { PyEval_RestoreThread(state_); });
  }
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};

class GilAcquire {
 private:
  pybind11::gil_scoped_acquire gil_ = until_exit([] { return pybind11::gil_scoped_acquire(); });
};

}  // namespace cnnx::bindings
