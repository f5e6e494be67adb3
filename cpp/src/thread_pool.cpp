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

using Clock = std::chrono::steady_clock;

int64_t nanoseconds(Clock::duration time) { return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count(); }

/// Whether two threads are worth it for a short loop. Where the system has put them on cores that share no cache, each
/// takes what the other wrote several times as slowly as its own, and a second thread makes short loops slower; there
/// is no asking where it has put them, and it may change its mind. So the pool looks at how long its thread takes to
/// see a loop, and remembers how long loops took.
class Distance {
 public:
  /// By the other thread, which was waiting: how long ago the loop began. The least of a few counts, as the others tell
  /// of what else the thread had to do.
  void note_start(int64_t delay) {
    least_ = std::min(least_, delay);
    if (++starts_ % kStarts != 0) return;
    delay_.store(least_, std::memory_order_relaxed);
    least_ = INT64_MAX;
  }
  /// Whether this loop is better run by the caller alone. Now and then some are not, to look again.
  bool is_too_far_for(const void* loop, int64_t chunks) {
    if (delay_.load(std::memory_order_relaxed) < kFar || work(loop, chunks) > kLong) return false;
    alone_ = alone_ + 1 < kAlone + kLooks ? alone_ + 1 : 0;
    return alone_ < kAlone;
  }
  void note_work(const void* loop, int64_t chunks, int64_t took) { work(loop, chunks) = took; }

 private:
  static constexpr int64_t kFar = 150, kLong = 100'000;                  // nanoseconds
  static constexpr int kStarts = 8, kAlone = 500, kLooks = kStarts + 2;  // loops

  int64_t& work(const void* loop, int64_t chunks) {
    const auto mixed = reinterpret_cast<uintptr_t>(loop) / 16 + static_cast<uintptr_t>(chunks) * 31;
    return work_[mixed % work_.size()];
  }

  std::atomic<int64_t> delay_{0};
  int64_t least_ = INT64_MAX;  // of the last starts, which the other thread counts
  int starts_ = 0;
  int alone_ = 0;                    // loops in a row that the caller ran
  std::array<int64_t, 512> work_{};  // what a loop would take the caller, when it was last run
};

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
    const void* const loop = reinterpret_cast<const void*>(function);
    const auto start = Clock::now();
    if (threads == 2 && distance_.is_too_far_for(loop, chunks)) {
      const FlushDenormals flush;
      inside = true;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) function(body, chunk, 0);
      inside = false;
      distance_.note_work(loop, chunks, nanoseconds(Clock::now() - start));
      return true;
    }
    published_.store(nanoseconds(start.time_since_epoch()), std::memory_order_relaxed);
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
    if (threads == 2) distance_.note_work(loop, chunks, 2 * nanoseconds(Clock::now() - start));
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
      if (is_wanted && !changed() && spin_until(changed)) {
        const int64_t now = nanoseconds(Clock::now().time_since_epoch());
        if (slot == 1) distance_.note_start(now - published_.load(std::memory_order_relaxed));
      } else if (!changed()) {
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
  std::atomic<int64_t> published_{0};  // when the loop was
  alignas(64) std::atomic<int> left_{0};
  Distance distance_;
  std::array<Member, kMostThreads> members_;
};

}  // namespace

bool try_run_chunks(int64_t chunks, int threads, ChunkFunction function, const void* body) {
  return ThreadPool::instance().try_run(chunks, threads, function, body);
}

bool inside_shared_loop() { return inside; }

}  // namespace cnnx
