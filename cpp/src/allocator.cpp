// The caching allocator: freed blocks wait in size classes for the next tensor of about that size.
//
// Classes are spaced at a quarter of a power of two, so a block is at most 25% larger than asked. What is kept is
// bounded: before memory is asked of the system, cached blocks are returned until all blocks together take no more than
// 1.25 times the most that live ones took so far plus 64 MiB. Large blocks of the CPU on Linux keep closer to it: from
// 16 MiB above it on they are given the pages of cached ones, which costs less than fresh pages do.
//
// What is allocated while a graph is captured is the graph's: it returns to a pool that only the same capture takes
// from, since every run of the graph writes there.
#include "allocator.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#if !defined(_WIN32)
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "check.h"
#include "cuda/capture.h"
#include "cuda/library.h"
#include "pages.h"

namespace cnnx {
namespace {

constexpr std::align_val_t kAlignment{64};
constexpr size_t kSmallest = 64;
constexpr size_t kLeastPaged = 4 * kPage;  // from here on size classes are of whole pages

struct SizeClass {
  size_t index;
  size_t bytes;
};

/// 64, 80, 96, 112, 128, 160, ... rounded up to multiples of 64.
SizeClass size_class(size_t bytes) {
  bytes = std::max(bytes, kSmallest);
  const int power = std::bit_width(bytes - 1) - 1;  // 2^power < bytes <= 2^(power + 1), but for bytes == 64
  const size_t step = size_t{1} << std::max(power - 2, 6);
  const size_t rounded = (bytes + step - 1) / step * step;
  return {static_cast<size_t>(power) * 8 + (rounded - (size_t{1} << power)) / step, rounded};
}

size_t physical_memory() {
#if !defined(_WIN32)
  return static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
#else
  return std::numeric_limits<size_t>::max();
#endif
}

/// std::bad_alloc that says what was asked, and on a GPU how much there is.
class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(size_t bytes, Device device)
      : text_(format("[memory] {} MiB could not be allocated{}. Use smaller shapes or batches.", bytes >> 20,
                     device.is_cuda() ? where(device) : "")) {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  static std::string where(Device device) {
    const DeviceMemory memory = cuda_memory(device);
    return format(" on {}: {} of {} MiB are free", device, memory.free >> 20, memory.total >> 20);
  }

  std::string text_;
};

/// Where the blocks of a device come from.
struct BlockSource {
  Device device;
  void* (*acquire)(Device device, size_t bytes);  // null if there are none
  void (*release)(Device device, void* block, size_t bytes);
  size_t largest;  // block
  /// Puts a page of one large block behind one of another, which is lost if it returns false. Null: it cannot.
  bool (*move)(void* from, void* to) noexcept = nullptr;
};

/// Whether freed blocks are kept. Without that, memory checkers see what a program does.
bool keeps_blocks() {
  static const char* const text = std::getenv("CNNX_CACHE");
  return !(text && text[0] == '0');
}

bool has_pages() { return keeps_blocks() && can_move_pages(); }

BlockSource cpu_blocks() {
  if (!has_pages()) {
    return {{},
            [](Device, size_t bytes) { return ::operator new(bytes, kAlignment, std::nothrow); },
            [](Device, void* block, size_t) { ::operator delete(block, kAlignment); },
            physical_memory()};
  }
  return {{},
          [](Device, size_t bytes) {
            return bytes < kLeastPaged ? ::operator new(bytes, kAlignment, std::nothrow) : map_pages(bytes);
          },
          [](Device, void* block, size_t bytes) {
            bytes < kLeastPaged ? ::operator delete(block, kAlignment) : unmap_pages(block, bytes);
          },
          physical_memory(),
          move_page};
}

/// Address space for the "meta" device: it reads as zeros and takes no memory unless it is written to. Its books are
/// those that the CPU would have.
BlockSource meta_blocks() {
#if !defined(_WIN32)
  return {DeviceType::kMeta,
          [](Device, size_t bytes) {
            void* block =
                mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            return block == MAP_FAILED ? nullptr : block;
          },
          [](Device, void* block, size_t bytes) { munmap(block, bytes); }, size_t{1} << 46,
          has_pages() ? +[](void*, void*) noexcept { return true; } : nullptr};
#else
  return cpu_blocks();
#endif
}

/// One stream a device works in order, so that a block may be used again as soon as it is freed.
BlockSource cuda_blocks(int index) {
  return {{DeviceType::kCuda, index},
          [](Device device, size_t bytes) { return cuda_library().allocate(device.index, bytes); },
          [](Device device, void* block, size_t bytes) {
            try {
              cuda_library().release(device.index, block, bytes);
            } catch (const CudaError&) {  // a forked child leaves its parent's memory alone
            }
          },
          static_cast<size_t>(cuda_memory({DeviceType::kCuda, index}).total)};
}

class CachingAllocator {
 public:
  explicit CachingAllocator(const BlockSource& source) : source_(source) {}

  Block allocate(size_t bytes, MemoryKind kind) {
    if (bytes > source_.largest) throw OutOfMemory(bytes, source_.device);
    const SizeClass want = size_class(bytes);
    const uint32_t pool = captured_pool(source_.device);
    const std::lock_guard lock(mutex_);
    Block block;
    if (pool) block = take(pools_[pool], want);
    if (!block.data) block = take(free_, want);
    if (!block.data) {
      block.data = fresh(want.bytes, pool == 0);
      if (!block.data) throw OutOfMemory(bytes, source_.device);
    }
    block.pool = pool;
    touch(block, want, bytes);
    if (!block.data) throw OutOfMemory(bytes, source_.device);
    add(kind, static_cast<long long>(want.bytes));
    if (stats_.current > stats_.peak) {
      stats_.peak = stats_.current;
      stats_.peak_by_kind = stats_.by_kind;
    }
    high_water_ = std::max(high_water_, stats_.resident - stats_.cached);
    return block;
  }

  void deallocate(const Block& block, size_t bytes, MemoryKind kind) noexcept {
    const SizeClass have = size_class(bytes);
    const std::lock_guard lock(mutex_);
    add(kind, -static_cast<long long>(have.bytes));
    const auto pool = pools_.find(block.pool);
    keep_or_release(pool != pools_.end() ? pool->second : free_, keeps_blocks() || pool != pools_.end(), block, have);
  }

  uint32_t open_pool() {
    const std::lock_guard lock(mutex_);
    pools_[++last_pool_];
    return last_pool_;
  }
  void close_pool(uint32_t pool) noexcept {
    const std::lock_guard lock(mutex_);
    const auto found = pools_.find(pool);
    if (found == pools_.end()) return;
    for (size_t index = 0; index < free_.size(); ++index) {
      for (const Block& block : found->second[index]) {
        stats_.cached -= static_cast<long long>(block.touched);
        keep_or_release(free_, keeps_blocks(), block, {index, class_bytes_[index]});
      }
    }
    pools_.erase(found);
  }

  void move(size_t bytes, MemoryKind from, MemoryKind to) {
    const auto size = static_cast<long long>(size_class(bytes).bytes);
    const std::lock_guard lock(mutex_);
    add(from, -size);
    add(to, size);
  }

  MemoryStats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    stats_.peak = stats_.current;
    stats_.peak_by_kind = stats_.by_kind;
    stats_.resident_peak = stats_.resident;
  }
  /// Afterwards the allocator is as in a new process that holds the same live buffers.
  void empty() {
    const std::lock_guard lock(mutex_);
    release_all();
    high_water_ = stats_.resident - stats_.cached;
  }
  std::mutex& mutex() { return mutex_; }

 private:
  void add(MemoryKind kind, long long bytes) {
    stats_.current += bytes;
    stats_.by_kind[static_cast<size_t>(kind)] += bytes;
  }

  static bool grow(std::vector<Block>& list) noexcept {
    try {
      list.reserve(std::max<size_t>(16, list.size() * 2));
      return true;
    } catch (const std::bad_alloc&) {
      return false;
    }
  }

  using FreeLists = std::array<std::vector<Block>, 64 * 8>;

  void keep_or_release(FreeLists& lists, bool keep, const Block& block, const SizeClass& have) noexcept {
    std::vector<Block>& list = lists[have.index];
    if (keep && (list.size() < list.capacity() || grow(list))) {
      list.push_back(block);
      class_bytes_[have.index] = have.bytes;
      stats_.cached += static_cast<long long>(block.touched);
    } else {
      stats_.resident -= static_cast<long long>(block.touched);
      source_.release(source_.device, block.data, have.bytes);
    }
  }

  Block take(FreeLists& lists, const SizeClass& want) {
    std::vector<Block>& list = lists[want.index];
    if (list.empty()) return {};
    const Block block = list.back();
    list.pop_back();
    stats_.cached -= static_cast<long long>(block.touched);
    return block;
  }

  /// A new block, or null. Giving memory back first may wait, which a capture must not.
  void* fresh(size_t bytes, bool may_wait) {
    if (may_wait && !is_paged(bytes)) trim(bytes);
    void* block = source_.acquire(source_.device, bytes);
    if (!block && may_wait) {
      release_all();
      block = source_.acquire(source_.device, bytes);
    }
    return block;
  }

  bool is_paged(size_t class_bytes) const { return source_.move && class_bytes >= kLeastPaged; }

  /// Books the memory that a live block's first bytes take, all of it on a GPU. The block is gone if it has no data
  /// afterwards.
  void touch(Block& block, const SizeClass& have, size_t bytes) {
    if (source_.device.is_cuda()) bytes = have.bytes;
    if (is_paged(have.bytes)) {
      bytes = (bytes + kPage - 1) / kPage * kPage;
      while (block.touched < bytes && is_full(bytes - block.touched) && move_in(block, have.bytes)) continue;
      if (bytes > block.touched) trim(bytes - block.touched);
    }
    if (bytes <= block.touched || !block.data) return;
    stats_.resident += static_cast<long long>(bytes - block.touched);
    stats_.resident_peak = std::max(stats_.resident_peak, stats_.resident);
    block.touched = bytes;
  }

  /// Whether so many fresh bytes are better taken from large blocks in the cache.
  bool is_full(size_t bytes) const {
    return stats_.resident + static_cast<long long>(bytes) > high_water_ + (16LL << 20);
  }

  /// Gives a large block the last page of a cached one, which is released with its last page. Returns whether it did.
  bool move_in(Block& block, size_t class_bytes) {
    size_t index = free_.size();
    while (index-- > 0 && (free_[index].empty() || !is_paged(class_bytes_[index]))) continue;
    if (index >= free_.size() || !moves_) return false;
    Block& other = free_[index].front();
    if (other.touched > 0) {
      if (!source_.move(page_at(other, other.touched - kPage), page_at(block, block.touched))) {
        replace(block, class_bytes);
        return false;
      }
      other.touched -= kPage;
      block.touched += kPage;
      stats_.cached -= static_cast<long long>(kPage);
    }
    if (other.touched == 0) {
      source_.release(source_.device, other.data, class_bytes_[index]);
      free_[index].erase(free_[index].begin());
    }
    return true;
  }

  static void* page_at(const Block& block, size_t offset) { return static_cast<char*>(block.data) + offset; }

  /// Another block in place of one whose first page beyond those touched is lost. No pages are moved from then on.
  void replace(Block& block, size_t class_bytes) {
    moves_ = false;
    const size_t rest = block.touched + kPage;
    unmap_pages(block.data, block.touched);
    unmap_pages(page_at(block, rest), class_bytes - rest);
    stats_.resident -= static_cast<long long>(block.touched);
    block.touched = 0;
    block.data = source_.acquire(source_.device, class_bytes);
  }

  void release_one(size_t index) {
    const Block block = free_[index].back();
    free_[index].pop_back();
    source_.release(source_.device, block.data, class_bytes_[index]);
    stats_.resident -= static_cast<long long>(block.touched);
    stats_.cached -= static_cast<long long>(block.touched);
  }

  void trim(size_t bytes) {
    const long long limit = high_water_ + high_water_ / 4 + (64LL << 20);
    for (size_t index = free_.size(); index-- > 0;) {
      while (!free_[index].empty() && stats_.resident + static_cast<long long>(bytes) > limit) release_one(index);
    }
  }

  void release_all() {
    for (size_t index = 0; index < free_.size(); ++index) {
      while (!free_[index].empty()) release_one(index);
    }
  }

  std::mutex mutex_;
  FreeLists free_;
  std::map<uint32_t, FreeLists> pools_;  // of graphs
  uint32_t last_pool_ = 0;
  std::array<size_t, 64 * 8> class_bytes_{};
  MemoryStats stats_;
  long long high_water_ = 0;
  bool moves_ = true;  // pages: as long as the system does
  const BlockSource source_;
};

struct Allocators {
  CachingAllocator cpu{cpu_blocks()}, meta{meta_blocks()};
  std::array<std::atomic<CachingAllocator*>, kMostCudaDevices> cuda{};  // made when a device is first used
  std::mutex making;

  /// That of a CUDA device. Raises CudaError.
  CachingAllocator& of_gpu(int index) {
    const auto at = static_cast<size_t>(index);
    if (CachingAllocator* made = at < cuda.size() ? cuda[at].load(std::memory_order_acquire) : nullptr) return *made;
    check_cuda_device(index);
    const std::lock_guard lock(making);
    if (!cuda[at].load()) cuda[at].store(new CachingAllocator(cuda_blocks(index)));
    return *cuda[at].load();
  }

  // Around a fork: a child finds every mutex free.
  template <class F>
  void for_each_mutex(F fn) {
    fn(making), fn(cpu.mutex()), fn(meta.mutex());
    for (const auto& slot : cuda) {
      if (CachingAllocator* made = slot.load()) fn(made->mutex());
    }
  }
  void lock() {
    for_each_mutex([](std::mutex& mutex) { mutex.lock(); });
  }
  void unlock() {
    for_each_mutex([](std::mutex& mutex) { mutex.unlock(); });
  }
};

/// Never destroyed: tensors may outlive every static object.
CachingAllocator& allocator(Device device) {
  static Allocators* const all = new Allocators;
#if !defined(_WIN32)
  [[maybe_unused]] static const int registered =
      pthread_atfork([] { all->lock(); }, [] { all->unlock(); }, [] { all->unlock(); });
#endif
  if (device.is_cuda()) return all->of_gpu(device.index);
  return device.is_meta() ? all->meta : all->cpu;
}

constexpr size_t kUnlimited = std::numeric_limits<size_t>::max();
thread_local size_t budget = kUnlimited;

}  // namespace

AllocationBudget::AllocationBudget(size_t bytes) { budget = bytes; }
AllocationBudget::~AllocationBudget() { budget = kUnlimited; }

Block allocate(size_t bytes, Device device, MemoryKind kind) {
  if (budget != kUnlimited) {
    check(bytes <= budget, "load",
          "the described model needs more memory than the file's tensors fill. The file is damaged.");
    budget -= bytes;
  }
  return allocator(device).allocate(bytes, kind);
}

void deallocate(const Block& block, size_t bytes, Device device, MemoryKind kind) noexcept {
  allocator(device).deallocate(block, bytes, kind);
}

uint32_t open_pool(Device device) { return allocator(device).open_pool(); }
void close_pool(uint32_t pool, Device device) noexcept { allocator(device).close_pool(pool); }

void change_kind(size_t bytes, Device device, MemoryKind from, MemoryKind to) {
  allocator(device).move(bytes, from, to);
}
std::mutex& allocator_mutex(Device device) { return allocator(device).mutex(); }

MemoryStats memory_stats(Device device) { return allocator(device).stats(); }
void reset_peak_memory(Device device) { allocator(device).reset_peak(); }
void empty_cache(Device device) { allocator(device).empty(); }

}  // namespace cnnx
