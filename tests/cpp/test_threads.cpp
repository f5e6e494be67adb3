// Parallel loops: every chunk once, slots of one thread, loops inside loops and beside each other.
#include <atomic>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "cnnx/tensor.h"
#include "parallel.h"

namespace {

/// Runs with some number of threads, then with the one before.
class Threads {
 public:
  explicit Threads(int count) : before_(cnnx::num_threads()) { cnnx::set_num_threads(count); }
  ~Threads() { cnnx::set_num_threads(before_); }

 private:
  int before_;
};

/// Cuts [0, n) and says how often each value was reached.
std::vector<int> visits(int64_t n, int64_t grain) {
  std::vector<int> count(static_cast<size_t>(n));
  cnnx::parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++count[static_cast<size_t>(i)];
  });
  return count;
}

}  // namespace

TEST_CASE("a parallel loop reaches every value once") {
  for (int threads : {1, 2, 3, 8, 40}) {
    const Threads set(threads);
    for (int64_t n : {0, 1, 2, 3, 7, 64, 1000}) {
      for (int64_t grain : {1, 3, 64}) CHECK(visits(n, grain) == std::vector<int>(static_cast<size_t>(n), 1));
    }
  }
}

TEST_CASE("many short loops in a row, so that threads come late, early and not at all") {
  const Threads set(4);
  std::atomic<int64_t> sum{0};
  for (int round = 0; round < 20000; ++round) {
    cnnx::parallel_for(round % 7, 1, [&](int64_t begin, int64_t) { sum += begin + 1; });
  }
  int64_t expected = 0;
  for (int round = 0; round < 20000; ++round) expected += (round % 7) * (round % 7 + 1) / 2;
  CHECK(sum == expected);
}

TEST_CASE("a slot belongs to one thread at a time") {
  const Threads set(6);
  for (int slots : {1, 2, 5}) {
    std::vector<std::atomic<int>> users(static_cast<size_t>(slots));
    std::atomic<int> clashes{0}, calls{0};
    cnnx::parallel_slots(300, slots, [&](int64_t, int slot) {
      if (users[static_cast<size_t>(slot)]++ != 0) ++clashes;
      for (int i = 0; i < 100; ++i) std::this_thread::yield();
      --users[static_cast<size_t>(slot)];
      ++calls;
    });
    CHECK(clashes == 0);
    CHECK(calls == 300);
  }
}

TEST_CASE("loops inside a loop run on the thread they are on") {
  const Threads set(3);
  std::atomic<int> moved{0}, done{0};
  cnnx::parallel_for(50, 1, [&](int64_t, int64_t) {
    const auto here = std::this_thread::get_id();
    cnnx::parallel_for(20, 1, [&](int64_t, int64_t) {
      if (std::this_thread::get_id() != here) ++moved;
      ++done;
    });
  });
  CHECK(moved == 0);
  CHECK(done == 1000);
}

TEST_CASE("several threads call loops at once") {
  const Threads set(3);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        if (visits(64, 1) != std::vector<int>(64, 1)) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0);
}
