// Reference-counted buffers.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>

#include "allocator.h"
#include "cnnx/device.h"

namespace cnnx {

class Storage;
struct DerivedValues;
struct MatrixProduct;

/// Captures of graphs that are under way, in any thread: while there are none, nobody is asked who captures.
inline std::atomic<int> captures_under_way{0};
/// Tells this thread's capture that its graph writes a buffer that is not its own.
void note_captured_write(Storage* storage);

/// A buffer of one device. Its version counts in-place writes, so that the tape can tell a stale saved value.
class Storage {
 public:
  Storage(size_t bytes, Device device);
  Storage(void* data, size_t bytes, Device device, std::function<void()> release);
  /// A matrix that has no memory until its values are asked for.
  Storage(std::shared_ptr<const MatrixProduct> product, size_t bytes, Device device);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const {
    if (is_product_.load(std::memory_order_acquire)) multiply_out();
    return block_.data;
  }
  /// What the values are the product of, if they were never asked for.
  std::shared_ptr<const MatrixProduct> product() const;
  size_t bytes() const { return bytes_; }
  /// The graph whose memory it is, or 0.
  uint32_t pool() const { return block_.pool; }
  Device device() const { return device_; }
  /// Moves the buffer to another kind in the allocator's books.
  void set_kind(MemoryKind kind);
  uint32_t version() const { return version_.load(std::memory_order_relaxed); }
  void bump_version() {
    if (captures_under_way.load(std::memory_order_relaxed) > 0) [[unlikely]]
      note_captured_write(this);
    version_.fetch_add(1, std::memory_order_relaxed);
    if (has_derived_.load(std::memory_order_relaxed)) set_derived(nullptr);
  }
  /// A writable pointer was handed out: values derived from the buffer may be stale from now on.
  void note_access() { accesses_.fetch_add(1, std::memory_order_relaxed); }

  /// Something computed from the values, kept until they may have changed. Null if there is none, if it is stale, or if
  /// memory outside the library, such as a NumPy array, may write the buffer unseen.
  std::shared_ptr<const DerivedValues> derived() const;
  void set_derived(std::shared_ptr<DerivedValues> values);
  /// Changes whenever the values may have changed, but for unseen writes.
  uint64_t stamp() const { return uint64_t{version()} << 32 | accesses_.load(std::memory_order_relaxed); }
  /// While lent, others may write the buffer.
  void lend() { views_.fetch_add(1, std::memory_order_relaxed); }
  void take_back() {
    note_access();
    views_.fetch_sub(1, std::memory_order_relaxed);
  }
  int loans() const { return views_.load(std::memory_order_relaxed); }
  bool may_change_unseen() const { return release_ || loans() > 0; }

 private:
  void multiply_out() const;

  mutable Block block_;
  size_t bytes_ = 0;
  Device device_;
  MemoryKind kind_ = MemoryKind::kActivation;
  std::atomic<uint32_t> version_{0};
  std::atomic<uint32_t> accesses_{0};
  std::atomic<int> views_{0};
  std::function<void()> release_;  // empty: the buffer is the allocator's
  std::atomic<bool> has_derived_{false};
  std::shared_ptr<DerivedValues> derived_;
  mutable std::atomic<bool> is_product_{false};
  mutable std::shared_ptr<const MatrixProduct> product_;
};

/// (out, in) = left^T right with left (rows, out) and right (rows, in): a sum of few outer products, whose factors take
/// far less memory than it does. Who can work on it piece by piece never needs the whole.
struct MatrixProduct {
  int64_t rows, in, out;
  Storage left, right;
  void (*multiply)(const MatrixProduct& product, void* to);
};

/// Values computed from a buffer, such as a weight in the order that a convolution algorithm wants.
struct DerivedValues {
  DerivedValues(const void* what, size_t bytes, Device device) : key(what), values(bytes, device) {}
  const void* key;                   // who made them
  std::array<int64_t, 4> variant{};  // of what the key can make
  Storage values;
  uint64_t stamp = 0;  // of the buffer, when they were made
};

/// Scratch memory for one kernel call, from the caching allocator.
class Workspace {
 public:
  Workspace(size_t bytes, Device device);
  void* data() const { return storage_ ? storage_->data() : nullptr; }

 private:
  std::unique_ptr<Storage> storage_;
};

/// What workspace_limit() says without a limit.
inline constexpr int64_t kNoWorkspaceLimit = INT64_MAX;

/// Whether this thread is under DeviceGuard("meta").
bool is_dry_run();

}  // namespace cnnx
