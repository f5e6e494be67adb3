// The capture of a CUDA graph as the rest of the library meets it: what the graph works on, and what its runs need of
// the host.
#pragma once

#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cnnx/graph.h"
#include "random.h"
#include "storage.h"

namespace cnnx {

struct TensorImpl;

/// Values of the host that kernels of a graph read from device memory, because they are others in every run.
class LiveValues {
 public:
  virtual ~LiveValues() = default;
  /// Whether the graph still does what the host would.
  virtual bool is_current() const = 0;
  /// Sets them for the next run.
  virtual void refresh() = 0;
};

struct Capture {
  explicit Capture(Device device);
  ~Capture();
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  /// A tensor's values are read or written.
  void use(const std::shared_ptr<TensorImpl>& impl);
  /// The next stream of random numbers of every run.
  Philox draw(Device device);
  bool is_current() const;
  /// What a run needs before, and what it leaves.
  void prepare();
  void finish();

  const Device device;
  const uint32_t pool;
  std::vector<std::unique_ptr<LiveValues>> live;
  std::vector<std::shared_ptr<void>> kept;
  std::unordered_set<Storage*> written;  // buffers that are not the graph's

 private:
  struct User {
    std::weak_ptr<TensorImpl> impl;
    const Storage* storage;
  };
  std::unordered_map<const Storage*, std::shared_ptr<Storage>> storages_;  // that are not the graph's
  std::unordered_map<const TensorImpl*, User> users_;
  Storage origin_;  // seed and first stream of a run
  uint64_t streams_ = 0;
  const uint64_t modes_;
};

/// What this thread captures into; null if it does not.
Capture* capture_of_thread();
inline Capture* current_capture() {
  return captures_under_way.load(std::memory_order_relaxed) == 0 ? nullptr : capture_of_thread();
}
inline uint32_t captured_pool(Device device) {
  const Capture* capture = current_capture();
  return capture && capture->device == device ? capture->pool : 0;
}
inline void note_captured_use(const std::shared_ptr<TensorImpl>& impl) {
  if (Capture* capture = current_capture()) [[unlikely]]
    capture->use(impl);
}

/// While one lives, what this thread allocates is not the captured graph's: memory that the host writes before a run,
/// and which nothing else in the graph may therefore use.
class OutsideCapture {
 public:
  OutsideCapture();
  ~OutsideCapture();
  OutsideCapture(const OutsideCapture&) = delete;
  OutsideCapture& operator=(const OutsideCapture&) = delete;

 private:
  Capture* capture_;
};

/// Some layer was put into another mode.
void note_mode_change();

}  // namespace cnnx
