// The number of threads: CNNX_NUM_THREADS, else affinity and cgroup quota; one after a fork.
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif
#if !defined(_WIN32)
#include <pthread.h>
#endif

#include "check.h"
#include "parallel.h"

namespace cnnx {
namespace {

int affinity_count() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
#endif
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

/// CPUs that the cgroup's quota amounts to, or a large number without a quota.
double cgroup_quota() {
  double quota = 0, period = 0;
  std::string word;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> word >> period && word != "max" && period > 0) {
    return std::strtod(word.c_str(), nullptr) / period;
  }
  std::ifstream quota_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), period_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (quota_file >> quota && period_file >> period && quota > 0 && period > 0) return quota / period;
  return 1e9;
}

int default_threads() {
  if (const char* text = std::getenv("CNNX_NUM_THREADS")) {
    const long count = std::strtol(text, nullptr, 10);
    if (count > 0) return static_cast<int>(std::min<long>(count, kMostThreads));
  }
  return std::clamp(std::min(affinity_count(), static_cast<int>(std::ceil(cgroup_quota()))), 1, kMostThreads);
}

std::atomic<bool> forked{false};

std::atomic<int>& thread_setting() {
  static std::atomic<int> setting = [] {
#if !defined(_WIN32)
    pthread_atfork(nullptr, nullptr, [] { forked.store(true); });
#endif
    return default_threads();
  }();
  return setting;
}

}  // namespace

int num_threads() { return thread_setting().load(std::memory_order_relaxed); }

void set_num_threads(int count) {
  check(count >= 1 && count <= kMostThreads, "set_num_threads", "count must lie in [1, {}]; got {}.", kMostThreads,
        count);
  thread_setting().store(count, std::memory_order_relaxed);
}

int region_threads() {
  const int threads = num_threads();
  if (threads == 1 || forked.load(std::memory_order_relaxed) || inside_shared_loop()) return 1;
  return threads;
}

}  // namespace cnnx
