// The threads of parallel loops. Fixed chunks, shares that can be emptied by anybody, short spins before sleeping.
#include "thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

#include "denormals.h"

namespace cnnx {
namespace {

thread_local bool inside = false;

void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// How long a thread looks for the next loop before it sleeps. The pauses between the loops of a training step are a
/// few microseconds, waking a thread takes 50: it is worth waiting for about as long, and no longer, as others may want
/// the core.
constexpr auto kSpinTime = std::chrono::microseconds(100);

/// Returns true as soon as `ready` does, or false after kSpinTime. Once the first few microseconds are over, it lets
/// other threads that want this core go first.
template <class Ready>
bool spin_until(Ready ready) {
  constexpr int kPauses = 64;
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < kPauses; ++i) {
      if (ready()) return true;
      pause();
    }
    std::this_thread::yield();
  } while (std::chrono::steady_clock::now() - start < kSpinTime);
  return ready();
}

/// Chunks that one thread is to do; apart from its neighbours, so that counters do not share a cache line.
struct alignas(64) Share {
  std::atomic<int64_t> next{0};
  int64_t end = 0;
};

/// Who is in a loop, in one word: the loop's number, whether it is open to more threads, and how many have joined.
class Entry {
 public:
  static constexpr uint32_t kJoined = 0x7ff, kOpen = 0x800, kNumber = ~(kJoined | kOpen);
  static int joined(uint32_t entry) { return static_cast<int>(entry & kJoined); }
  static bool open(uint32_t entry) { return (entry & kOpen) != 0; }
  static uint32_t next_loop(uint32_t entry) { return ((entry & kNumber) + kOpen + kOpen) | kOpen; }
};

class ThreadPool {
 public:
  /// Never destroyed: its threads may sleep in it until the process ends.
  static ThreadPool& instance() {
    static ThreadPool& pool = *new ThreadPool;
    return pool;
  }

  bool try_run(int64_t chunks, int threads, ChunkFunction function, const void* body) {
    const std::unique_lock lock(owner_, std::try_to_lock);
    if (!lock) return false;
    start_threads(threads - 1);
    function_ = function;
    body_ = body;
    threads_ = threads;
    for (int64_t slot = 0; slot < threads; ++slot) {
      shares_[slot].end = chunks * (slot + 1) / threads;
      shares_[slot].next.store(chunks * slot / threads, std::memory_order_relaxed);
    }
    left_.store(0, std::memory_order_relaxed);
    most_joined_.store(threads - 1, std::memory_order_relaxed);
    entry_.store(Entry::next_loop(entry_.load(std::memory_order_relaxed)));
    wake(threads - 1);

    inside = true;
    work(0);
    inside = false;
    // Nothing is left to begin. Those who have joined are in their last chunks; nobody else may join.
    const int joined = Entry::joined(entry_.fetch_and(~Entry::kOpen));
    const auto all_left = [&] { return left_.load(std::memory_order_acquire) == joined; };
    while (!spin_until(all_left)) {
      const int left = left_.load(std::memory_order_acquire);
      if (left != joined) left_.wait(left);
    }
    return true;
  }

 private:
  /// Threads that do not sleep need no waking; of those that do, no more than are wanted.
  void wake(int count) {
    if (count >= started_) return entry_.notify_all();
    for (int i = 0; i < count; ++i) entry_.notify_one();
  }

  void start_threads(int count) {
    if (count <= started_) return;
    if (count >= capacity_) {
      shares_ = std::make_unique<Share[]>(static_cast<size_t>(count) + 1);
      capacity_ = count + 1;
    }
    try {
      for (; started_ < count; ++started_) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {
      // The system gives no more threads. Those there are do the work.
    }
  }

  /// What a thread of the pool does all its life.
  [[noreturn]] void serve() {
    inside = true;
    uint32_t seen = 0;
    for (;;) {
      uint32_t entry = entry_.load(std::memory_order_acquire);
      const auto changed = [&] { return (entry = entry_.load(std::memory_order_acquire)) != seen; };
      if (!spin_until(changed)) {
        entry_.wait(seen);
        continue;
      }
      seen = entry;
      if (!Entry::open(entry) || Entry::joined(entry) >= most_joined_.load(std::memory_order_relaxed)) continue;
      if (!entry_.compare_exchange_strong(entry, entry + 1, std::memory_order_acq_rel)) continue;
      work(Entry::joined(entry) + 1);
      left_.fetch_add(1, std::memory_order_release);
      left_.notify_one();
    }
  }

  /// Takes chunks, this slot's own first, until none is left to take.
  void work(int slot) {
    const FlushDenormals flush;
    for (int turn = 0; turn < threads_; ++turn) {
      Share& share = shares_[slot + turn < threads_ ? slot + turn : slot + turn - threads_];
      for (;;) {
        const int64_t chunk = share.next.fetch_add(1, std::memory_order_relaxed);
        if (chunk >= share.end) break;
        function_(body_, chunk, slot);
      }
    }
  }

  std::mutex owner_;  // of everything below that is not atomic, while a loop runs
  std::unique_ptr<Share[]> shares_;
  int capacity_ = 0, started_ = 0, threads_ = 0;
  ChunkFunction function_ = nullptr;
  const void* body_ = nullptr;
  alignas(64) std::atomic<uint32_t> entry_{0};
  std::atomic<int> most_joined_{0};
  alignas(64) std::atomic<int> left_{0};
};

}  // namespace

void run_chunks(int64_t chunks, int threads, ChunkFunction function, const void* body) {
  if (ThreadPool::instance().try_run(chunks, threads, function, body)) return;
  const FlushDenormals flush;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) function(body, chunk, 0);
}

bool inside_shared_loop() { return inside; }

}  // namespace cnnx
