// Memory of all devices.
#pragma once

#include <mutex>

#include "cnnx/device.h"

namespace cnnx {

/// Memory of the allocator, and how many bytes of it have been asked for so far: those take memory of the machine.
struct Block {
  void* data = nullptr;
  size_t touched = 0;
  uint32_t pool = 0;  // the graph whose memory it is; 0: nobody's
};

/// 64-byte aligned memory, on CUDA 256-byte aligned. Raises std::bad_alloc, also for a request larger than the
/// machine's memory.
Block allocate(size_t bytes, Device device, MemoryKind kind);
void deallocate(const Block& block, size_t bytes, Device device, MemoryKind kind) noexcept;

/// The memory of a graph: what its capture allocates stays with it, whoever frees it, until the pool is closed.
uint32_t open_pool(Device device);
void close_pool(uint32_t pool, Device device) noexcept;

/// Moves a block to another kind in the books.
void change_kind(size_t bytes, Device device, MemoryKind from, MemoryKind to);
/// The lock of a device's books. A forked child finds it free.
std::mutex& allocator_mutex(Device device);

/// While one lives, this thread may allocate no more than so many bytes in all; std::invalid_argument beyond. For
/// building what a file describes: its description may ask for any size.
class AllocationBudget {
 public:
  explicit AllocationBudget(size_t bytes);
  ~AllocationBudget();
  AllocationBudget(const AllocationBudget&) = delete;
  AllocationBudget& operator=(const AllocationBudget&) = delete;
};

}  // namespace cnnx
