// Reference-counted buffers, and the caching allocator behind them.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "cnnx/device.h"

namespace cnnx {

/// Memory of the allocator, and how many bytes of it have been asked for so far: those take memory of the machine.
struct Block {
  void* data = nullptr;
  size_t touched = 0;
};

/// A buffer of one device. Its version counts in-place writes, so that the tape can tell a stale saved value.
class Storage {
 public:
  Storage(size_t bytes, Device device);
  Storage(void* data, size_t bytes, Device device, std::function<void()> release);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return block_.data; }
  size_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  /// Moves the buffer to another kind in the allocator's books.
  void set_kind(MemoryKind kind);
  uint32_t version() const { return version_.load(std::memory_order_relaxed); }
  void bump_version() { version_.fetch_add(1, std::memory_order_relaxed); }

 private:
  Block block_;
  size_t bytes_ = 0;
  Device device_;
  MemoryKind kind_ = MemoryKind::kActivation;
  std::atomic<uint32_t> version_{0};
  std::function<void()> release_;  // empty: the buffer is the allocator's
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

/// While one lives, this thread may allocate no more than so many bytes in all; std::invalid_argument beyond. For
/// building what a file describes: its description may ask for any size.
class AllocationBudget {
 public:
  explicit AllocationBudget(size_t bytes);
  ~AllocationBudget();
  AllocationBudget(const AllocationBudget&) = delete;
  AllocationBudget& operator=(const AllocationBudget&) = delete;
};

/// Whether this thread is under DeviceGuard("meta").
bool is_dry_run();

/// 64-byte aligned memory. Raises std::bad_alloc, also for a request larger than the machine's memory.
Block allocate(size_t bytes, Device device, MemoryKind kind);
void deallocate(const Block& block, size_t bytes, Device device, MemoryKind kind) noexcept;

}  // namespace cnnx
