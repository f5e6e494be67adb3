// The threads of parallel loops. Fixed chunks, shares that can be emptied by anybody, short spins before sleeping.
#include "thread_pool.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
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

/// Who is in a loop, in one word: the loop's number, whether it is open to more threads, and how many have joined.
class Entry {
 public:
  static constexpr uint32_t kJoined = 0x7ff, kOpen = 0x800, kNumber = ~(kJoined | kOpen);
  static_assert(kMostThreads <= kJoined);
  static int joined(uint32_t entry) { return static_cast<int>(entry & kJoined); }
  static bool open(uint32_t entry) { return (entry & kOpen) != 0; }
  static uint32_t next_loop(uint32_t entry) { return ((entry & kNumber) + kOpen + kOpen) | kOpen; }
};

/// One thread's part of a loop, and its sleep; apart from its neighbours, so that they share no cache line.
struct alignas(64) Member {
  std::atomic<int64_t> next{0};  // chunk of its share
  int64_t end = 0;
  std::atomic<int> is_asleep{0};
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
    threads = std::min(threads, start_threads(threads));
    function_ = function;
    body_ = body;
    for (int64_t slot = 0; slot < threads; ++slot) {
      member(slot).end = chunks * (slot + 1) / threads;
      member(slot).next.store(chunks * slot / threads, std::memory_order_relaxed);
    }
    left_.store(0, std::memory_order_relaxed);
    threads_.store(threads, std::memory_order_relaxed);
    entry_.store(Entry::next_loop(entry_.load(std::memory_order_relaxed)));
    for (int slot = 1; slot < threads; ++slot) wake(member(slot));

    inside = true;
    work(0);
    inside = false;
    // Nothing is left to begin. Those who have joined are in their last chunks, and nobody else may join.
    const int joined = Entry::joined(entry_.load(std::memory_order_relaxed));
    const auto all_left = [&] { return left_.load(std::memory_order_acquire) == joined; };
    while (!spin_until(all_left)) {
      const int left = left_.load(std::memory_order_acquire);
      if (left != joined) left_.wait(left);
    }
    return true;
  }

 private:
  Member& member(int64_t slot) { return members_[static_cast<size_t>(slot)]; }

  /// As many threads as there are then, with the caller's; fewer than wanted if the system gives no more.
  int start_threads(int wanted) {
    try {
      for (; started_ < std::min(wanted, most_); ++started_) {
        std::thread([this, slot = started_] { serve(slot); }).detach();
      }
    } catch (const std::exception&) {
      most_ = started_;
    }
    return started_;
  }

  static void wake(Member& sleeper) {
    if (sleeper.is_asleep.exchange(0) == 1) sleeper.is_asleep.notify_one();
  }

  /// Until there is another loop than the one `seen`.
  void sleep(Member& self, uint32_t seen) {
    self.is_asleep.store(1);
    if (entry_.load() == seen) self.is_asleep.wait(1);
    self.is_asleep.store(0, std::memory_order_relaxed);
  }

  /// What a thread of the pool does all its life. Those that the last loop had no use for sleep at once.
  [[noreturn]] void serve(int slot) {
    inside = true;
    uint32_t seen = 0;
    for (;;) {
      uint32_t entry = seen;
      const auto changed = [&] { return (entry = entry_.load(std::memory_order_acquire)) != seen; };
      const bool is_wanted = slot < threads_.load(std::memory_order_relaxed);
      if (!(is_wanted && spin_until(changed)) && !changed()) {
        sleep(member(slot), seen);
        continue;
      }
      seen = entry;
      const auto has_share = [&] { return slot < threads_.load(std::memory_order_relaxed); };
      if (!Entry::open(entry) || !has_share()) continue;
      if (!entry_.compare_exchange_strong(entry, entry + 1, std::memory_order_acq_rel)) continue;
      if (has_share()) work(slot);  // else the loop's number has come round since `entry` was read
      left_.fetch_add(1, std::memory_order_release);
      left_.notify_one();
    }
  }

  /// Takes chunks, this slot's own first, until none is left to take; then nobody need join any more.
  void work(int slot) noexcept {
    const FlushDenormals flush;
    const int threads = threads_.load(std::memory_order_relaxed);
    for (int turn = 0; turn < threads; ++turn) {
      Member& share = member(slot + turn < threads ? slot + turn : slot + turn - threads);
      for (;;) {
        const int64_t chunk = share.next.fetch_add(1, std::memory_order_relaxed);
        if (chunk >= share.end) break;
        function_(body_, chunk, slot);
      }
    }
    entry_.fetch_and(~Entry::kOpen);
  }

  std::mutex owner_;  // of everything below that is not atomic, while a loop runs
  int started_ = 1, most_ = kMostThreads;
  ChunkFunction function_ = nullptr;
  const void* body_ = nullptr;
  alignas(64) std::atomic<uint32_t> entry_{0};
  std::atomic<int> threads_{0};
  alignas(64) std::atomic<int> left_{0};
  std::array<Member, kMostThreads> members_;
};

}  // namespace

bool try_run_chunks(int64_t chunks, int threads, ChunkFunction function, const void* body) {
  return ThreadPool::instance().try_run(chunks, threads, function, body);
}

bool inside_shared_loop() { return inside; }

}  // namespace cnnx
