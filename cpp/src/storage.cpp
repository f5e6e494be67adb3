// The caching allocator: freed blocks wait in size classes for the next tensor of about that size.
//
// Classes are spaced at a quarter of a power of two, so a block is at most 25% larger than asked. What is kept is
// bounded: before memory is asked of the system, cached blocks are returned until all blocks together stay within 1.25
// times the largest live total so far plus 64 MiB.
#include "storage.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <new>
#include <vector>

#if !defined(_WIN32)
#include <pthread.h>
#include <unistd.h>
#endif

#include "check.h"
#include "kernels.h"

namespace cnnx {
namespace {

constexpr std::align_val_t kAlignment{64};
constexpr size_t kSmallest = 64;

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

/// std::bad_alloc that says what was asked.
class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(size_t bytes)
      : text_(format("[memory] {} MiB could not be allocated. Use smaller shapes or batches.", bytes >> 20)) {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

class CachingAllocator {
 public:
  CachingAllocator() {
    const char* text = std::getenv("CNNX_CACHE");
    caching_ = !(text && text[0] == '0');
  }

  void* allocate(size_t bytes) {
    if (bytes > physical_memory_) throw OutOfMemory(bytes);
    const SizeClass want = size_class(bytes);
    const std::lock_guard lock(mutex_);
    void* block = take(want);
    if (!block) {
      trim(want.bytes);
      block = ::operator new(want.bytes, kAlignment, std::nothrow);
      if (!block) {
        release_all();
        block = ::operator new(want.bytes, kAlignment, std::nothrow);
        if (!block) throw OutOfMemory(bytes);
      }
    }
    stats_.current += static_cast<long long>(want.bytes);
    stats_.peak = std::max(stats_.peak, stats_.current);
    high_water_ = std::max(high_water_, stats_.current);
    return block;
  }

  void deallocate(void* block, size_t bytes) noexcept {
    const SizeClass have = size_class(bytes);
    const std::lock_guard lock(mutex_);
    stats_.current -= static_cast<long long>(have.bytes);
    std::vector<void*>& list = free_[have.index];
    if (caching_ && (list.size() < list.capacity() || grow(list))) {
      list.push_back(block);
      class_bytes_[have.index] = have.bytes;
      stats_.cached += static_cast<long long>(have.bytes);
    } else {
      ::operator delete(block, kAlignment);
    }
  }

  MemoryStats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    stats_.peak = stats_.current;
  }
  void empty() {
    const std::lock_guard lock(mutex_);
    release_all();
  }
  std::mutex& mutex() { return mutex_; }

 private:
  static bool grow(std::vector<void*>& list) noexcept {
    try {
      list.reserve(std::max<size_t>(16, list.size() * 2));
      return true;
    } catch (const std::bad_alloc&) {
      return false;
    }
  }

  void* take(const SizeClass& want) {
    std::vector<void*>& list = free_[want.index];
    if (list.empty()) return nullptr;
    void* block = list.back();
    list.pop_back();
    stats_.cached -= static_cast<long long>(want.bytes);
    return block;
  }

  void release_one(size_t index) {
    ::operator delete(free_[index].back(), kAlignment);
    free_[index].pop_back();
    stats_.cached -= static_cast<long long>(class_bytes_[index]);
  }

  void trim(size_t bytes) {
    const long long limit = high_water_ + high_water_ / 4 + (64LL << 20);
    for (size_t index = free_.size(); index-- > 0;) {
      while (!free_[index].empty() && stats_.current + stats_.cached + static_cast<long long>(bytes) > limit)
        release_one(index);
    }
  }

  void release_all() {
    for (size_t index = 0; index < free_.size(); ++index) {
      while (!free_[index].empty()) release_one(index);
    }
  }

  std::mutex mutex_;
  std::array<std::vector<void*>, 64 * 8> free_;
  std::array<size_t, 64 * 8> class_bytes_{};
  MemoryStats stats_;
  long long high_water_ = 0;
  bool caching_ = true;
  const size_t physical_memory_ = physical_memory();
};

/// Never destroyed: tensors may outlive every static object.
CachingAllocator& allocator() {
  static CachingAllocator* instance = [] {
    auto* created = new CachingAllocator;
#if !defined(_WIN32)
    pthread_atfork([] { allocator().mutex().lock(); }, [] { allocator().mutex().unlock(); },
                   [] { allocator().mutex().unlock(); });
#endif
    return created;
  }();
  return *instance;
}

}  // namespace

namespace {
constexpr size_t kUnlimited = std::numeric_limits<size_t>::max();
thread_local size_t budget = kUnlimited;
}  // namespace

AllocationBudget::AllocationBudget(size_t bytes) { budget = bytes; }
AllocationBudget::~AllocationBudget() { budget = kUnlimited; }

void* allocate(size_t bytes, Device device) {
  if (budget != kUnlimited) {
    check(bytes <= budget, "load",
          "the described model needs more memory than the file's tensors fill. The file is damaged.");
    budget -= bytes;
  }
  if (device.is_cuda()) raise_no_cuda();
  return allocator().allocate(bytes);
}

void deallocate(void* data, size_t bytes, Device) noexcept { allocator().deallocate(data, bytes); }

Storage::Storage(size_t bytes, Device device) : data_(allocate(bytes, device)), bytes_(bytes), device_(device) {}

Storage::Storage(void* data, size_t bytes, Device device, std::function<void()> release)
    : data_(data), bytes_(bytes), device_(device), release_(std::move(release)) {}

Storage::~Storage() {
  if (release_) {
    release_();
  } else {
    deallocate(data_, bytes_, device_);
  }
}

std::shared_ptr<const DerivedValues> Storage::derived() const {
  if (may_change_unseen()) return nullptr;
  const std::lock_guard lock(allocator().mutex());  // which a forked child finds unlocked
  return derived_ && derived_->stamp == stamp() ? derived_ : nullptr;
}

void Storage::set_derived(std::shared_ptr<DerivedValues> values) {
  const std::lock_guard lock(allocator().mutex());
  derived_.swap(values);  // the old ones are freed after the lock is
}

MemoryStats memory_stats() { return allocator().stats(); }
void reset_peak_memory() { allocator().reset_peak(); }
void empty_cache() { allocator().empty(); }

}  // namespace cnnx
