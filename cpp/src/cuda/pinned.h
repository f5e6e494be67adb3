// Page-locked memory of the host, kept for reuse.
#pragma once

#include <cstddef>
#include <mutex>

#include "cuda/library.h"

namespace cnnx {

/// One piece of it, with the copies that may still read it.
struct PinnedBlock {
  PinnedBlock(void* at, size_t length) : data(at), bytes(length) {}

  void* data;
  size_t bytes;
  std::mutex mutex;  // of what follows, as threads may copy from one block
  int device = -1;   // where the event is, behind the last copy
  CudaLane lane = CudaLane::kWork;
  void* event = nullptr;
  bool is_read = false;
};

/// The block that begins there, or null.
PinnedBlock* find_pinned(const void* data);
/// A copy out of the block was given to a lane: the block is not used again before it is done.
void note_read(PinnedBlock& block, int device, CudaLane lane);

}  // namespace cnnx
