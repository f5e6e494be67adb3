// Page-locked tensors, and uploads that run beside a GPU's work.
#include "cnnx/transfer.h"

#include <bit>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "check.h"
#include "cuda/pinned.h"
#include "tensor_impl.h"

namespace cnnx {
namespace {

/// Never destroyed: tensors may outlive every static object. Blocks are a power of two long.
struct PinnedPool {
  std::mutex mutex;
  std::map<size_t, std::deque<PinnedBlock*>> free;  // by length, the longest unused first
  std::unordered_map<const void*, PinnedBlock*> live;

  PinnedBlock* take(size_t bytes) {
    const size_t length = std::bit_ceil(std::max<size_t>(bytes, 4096));
    const CudaLibrary& library = cuda_library();
    PinnedBlock* block = nullptr;
    {
      const std::lock_guard lock(mutex);
      if (auto& list = free[length]; !list.empty()) {
        block = list.front();
        list.pop_front();
      }
    }
    if (!block) {
      void* data = library.pin(length);
      if (!data) throw std::bad_alloc();
      block = new PinnedBlock(data, length);
    }
    if (block->is_read) library.wait_on_host(block->event);
    block->is_read = false;
    const std::lock_guard lock(mutex);
    live[block->data] = block;
    return block;
  }

  void give_back(PinnedBlock* block) {
    const std::lock_guard lock(mutex);
    live.erase(block->data);
    free[block->bytes].push_back(block);
  }
};
PinnedPool& pool() {
  static PinnedPool* const the = new PinnedPool;
  return *the;
}

}  // namespace

PinnedBlock* find_pinned(const void* data) {
  const std::lock_guard lock(pool().mutex);
  const auto found = pool().live.find(data);
  return found == pool().live.end() ? nullptr : found->second;
}

void note_read(PinnedBlock& block, int device, CudaLane lane) {
  const CudaLibrary& library = cuda_library();
  const std::lock_guard lock(block.mutex);
  if (block.is_read && (block.device != device || block.lane != lane)) library.wait_on_host(block.event);
  if (block.event && block.device != device) library.release_event(std::exchange(block.event, nullptr));
  if (!block.event) block.event = library.make_event(device);
  block.device = device;
  block.lane = lane;
  library.record(device, lane, block.event);
  block.is_read = true;
}

Tensor empty_pinned(const Shape& shape, DType dtype) {
  check_numel("pin_memory", shape);
  PinnedBlock* const block = pool().take(static_cast<size_t>(shape.numel() * dtype_size(dtype)));
  return from_memory(block->data, shape, {dtype}, [block] { pool().give_back(block); });
}

bool is_pinned(const Tensor& x) {
  return x.device() == Device() && find_pinned(std::as_const(x).raw_data()) != nullptr;
}

Tensor pin_memory(const Tensor& x) {
  check(x.device() == Device(), "pin_memory", "expected a tensor on the CPU; got one on {}.", x.device());
  if (is_pinned(x)) return x;
  Tensor y = empty_pinned(x.shape(), x.dtype());
  std::memcpy(y.raw_data(), std::as_const(x).raw_data(), static_cast<size_t>(x.numel() * dtype_size(x.dtype())));
  return y;
}

// ---- Uploads

namespace {

/// A buffer on the device: `freed` passes when the work that read it is done, `arrived` when it is filled.
struct Slot {
  Slot(size_t bytes, Device device)
      : memory(bytes, device),
        freed(cuda_library().make_event(device.index)),
        arrived(cuda_library().make_event(device.index)) {}
  ~Slot() {
    try {
      cuda_library().release_event(freed);
      cuda_library().release_event(arrived);
    } catch (const CudaError&) {  // a forked child leaves its parent's events alone
    }
  }
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;

  Storage memory;
  void* freed;
  void* arrived;
  bool is_awaited = false;  // by the work
};

}  // namespace

struct Arrival::State {
  Device device;
  std::shared_ptr<Slot> slot;
  void await() const {
    if (!std::exchange(slot->is_awaited, true)) cuda_library().wait(device.index, CudaLane::kWork, slot->arrived);
  }
};

struct Uploader::Ring {
  Device device;
  std::mutex mutex;
  std::vector<std::shared_ptr<Slot>> free;

  std::shared_ptr<Slot> take(size_t bytes) {
    {
      const std::lock_guard lock(mutex);
      for (auto at = free.begin(); at != free.end(); ++at) {
        if ((*at)->memory.bytes() < bytes || (*at)->memory.bytes() > 2 * bytes + 4096) continue;
        const std::shared_ptr<Slot> slot = *at;
        free.erase(at);
        return slot;
      }
    }
    const MemoryKindGuard kind(MemoryKind::kBatch);
    auto slot = std::make_shared<Slot>(bytes, device);
    // The allocator's block may be new to this ring alone: the work may still read what it held.
    cuda_library().record(device.index, CudaLane::kWork, slot->freed);
    return slot;
  }

  void give_back(const Arrival::State& state) noexcept {
    try {
      state.await();  // of a tensor that nobody took
      cuda_library().record(device.index, CudaLane::kWork, state.slot->freed);
      const std::lock_guard lock(mutex);
      free.push_back(state.slot);
    } catch (const std::exception&) {  // a forked child leaves its parent's memory alone
    }
  }
};

Tensor Arrival::take() {
  check<std::runtime_error>(state_ != nullptr, "upload", "this tensor was taken already.");
  state_->await();
  state_ = nullptr;
  return std::exchange(tensor_, Tensor());
}

Uploader::Uploader(Device device) : ring_(std::make_shared<Ring>()) {
  check(device.is_cuda(), "upload", "expected a CUDA device; got \"{}\".", device);
  check_cuda_device(device.index);
  ring_->device = device;
}
Uploader::~Uploader() = default;

Arrival Uploader::start(const Tensor& source) {
  check(source.device() == Device(), "upload", "expected a tensor on the CPU; got one on {}.", source.device());
  const CudaLibrary& library = cuda_library();
  const Device device = ring_->device;
  const auto bytes = static_cast<size_t>(source.numel() * dtype_size(source.dtype()));
  Arrival arrival;
  arrival.state_ = std::make_shared<Arrival::State>(Arrival::State{device, ring_->take(bytes)});
  Slot& slot = *arrival.state_->slot;
  slot.is_awaited = false;
  library.wait(device.index, CudaLane::kCopy, slot.freed);
  library.copy_async(device.index, CudaLane::kCopy, slot.memory.data(), std::as_const(source).raw_data(), bytes);
  library.record(device.index, CudaLane::kCopy, slot.arrived);
  if (PinnedBlock* block = find_pinned(std::as_const(source).raw_data())) {
    note_read(*block, device.index, CudaLane::kCopy);
  } else {
    library.wait_on_host(slot.arrived);  // others may have locked the page, and change it
  }
  arrival.tensor_ = from_memory(slot.memory.data(), source.shape(), {source.dtype(), device},
                                [ring = ring_, state = arrival.state_] { ring->give_back(*state); });
  return arrival;
}

// ---- Streams of others

uint64_t work_stream(Device device) {
  check_cuda_device(device.index);
  return reinterpret_cast<uint64_t>(cuda_library().work_stream(device.index));
}

void meet_stream(Device device, uint64_t stream, bool they_wait) {
  cuda_library().meet(device.index, reinterpret_cast<void*>(stream), they_wait);
}

void settle(Device device, bool everybody) noexcept {
  try {
    cuda_library().settle(device.index, everybody);
  } catch (const std::exception&) {  // a forked child leaves its parent's work alone
  }
}

}  // namespace cnnx
