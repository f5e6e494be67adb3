// The host's stand-in for the CUDA runtime: launches, and memory.
//
// A launch runs the blocks one after another. A block's threads run to their end one by one; a thread that must wait
// (at a barrier, or for the lanes of its warp) is left on a stack of its own, and goes on when what it waits for has
// happened. What CUDA leaves undefined ends the process here: a barrier that some threads do not reach. With
// CNNX_CUDA_HOST_ORDER=reverse the last thread runs first: a missing barrier gives wrong values in one of the orders.
//
// With CNNX_CUDA_HOST_GUARD=1 device memory cannot be touched but by kernels and copies: host code that reads a device
// pointer crashes, as it should. Without, it comes from malloc, so that the address sanitizer sees every buffer's end.
#include "cuda_runtime.h"

#include "wgmma_state.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace {

// ---- Stacks

extern "C" void cuda_host_switch(void** save, void* load);
asm(R"(
.text
.globl cuda_host_switch
.hidden cuda_host_switch
.type cuda_host_switch, @function
cuda_host_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_host_switch, .-cuda_host_switch
)");

constexpr size_t kStack = 256 << 10;

[[noreturn]] void die(const char* text) {
  std::fprintf(stderr, "cuda_host: %s\n", text);
  std::abort();
}

/// Tells the address sanitizer of a change of stacks.
struct StackChange {
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  void begin(const void* bottom, size_t size) { __sanitizer_start_switch_fiber(&fake, bottom, size); }
  void end(const void** old_bottom = nullptr, size_t* old_size = nullptr) {
    __sanitizer_finish_switch_fiber(fake, old_bottom, old_size);
  }
#else
  void begin(const void*, size_t) {}
  void end(const void** = nullptr, size_t* = nullptr) {}
#endif
};

enum class Wait : unsigned char { kNothing, kBlock, kWarp };

void fiber_main();

struct Fiber {
  Fiber() {
    auto* top = reinterpret_cast<void**>(stack + kStack) - 2;  // where ret leaves rsp as a call would
    *top = reinterpret_cast<void*>(&fiber_main);
    sp = top - 6;
  }
  char* stack = static_cast<char*>(
      mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  void* sp = nullptr;
  StackChange change;
  uint3 thread;
  unsigned warp = 0;
  Wait wait = Wait::kNothing;
  unsigned generation = 0;  // of what it waits for
  bool done = false;
};

struct Barrier {
  unsigned arrived = 0, size = 0, generation = 0;
  /// Counts the caller; the generation that must pass.
  unsigned arrive() {
    const unsigned mine = generation;
    if (++arrived == size) {
      arrived = 0;
      ++generation;
    }
    return mine;
  }
};

/// One block at a time.
struct Block {
  const std::function<void()>* thread = nullptr;
  dim3 size;
  unsigned total = 0, next = 0;
  bool reversed = false;
  std::vector<std::unique_ptr<Fiber>> fibers;  // the first `started` are in use
  size_t started = 0;
  Fiber* running = nullptr;
  void* scheduler_sp = nullptr;
  StackChange scheduler_change;
  const void* scheduler_stack = nullptr;
  size_t scheduler_size = 0;
  Barrier all;
  std::vector<Barrier> warps;
  std::vector<std::vector<double>> slots;  // 32 values of up to 24 bytes a warp
  size_t shared_bytes = 0;
} block;

/// Dynamic shared memory begins behind what a kernel declares itself: on 16 bytes, and no more.
constexpr size_t kMostShared = 227 << 10;  // of Hopper
alignas(1024) char shared_memory[kMostShared + 1024];
char* const dynamic_memory = shared_memory + 1008;
std::map<const void*, size_t> allowed_shared;

void yield_to_scheduler() {
  Fiber* self = block.running;
  self->change.begin(block.scheduler_stack, block.scheduler_size);
  cuda_host_switch(&self->sp, block.scheduler_sp);
  self->change.end(&block.scheduler_stack, &block.scheduler_size);
}

/// What runs on a fiber's stack: one thread after another. While one waits, the next are another fiber's, so that
/// threads which never wait cost no more than a call.
void fiber_main() {
  Fiber* self = block.running;
  self->change.end(&block.scheduler_stack, &block.scheduler_size);
  for (;;) {
    while (block.next < block.total) {
      const unsigned index = block.reversed ? block.total - 1 - block.next : block.next;
      ++block.next;
      self->thread = {index % block.size.x, index / block.size.x % block.size.y, index / block.size.x / block.size.y};
      self->warp = index / 32;
      threadIdx = self->thread;
      (*block.thread)();
    }
    self->done = true;
    yield_to_scheduler();
  }
}

void resume(Fiber& fiber) {
  block.running = &fiber;
  threadIdx = fiber.thread;
  block.scheduler_change.begin(fiber.stack, kStack);
  cuda_host_switch(&block.scheduler_sp, fiber.sp);
  block.scheduler_change.end();
}

void start_fiber() {
  if (block.started == block.fibers.size()) block.fibers.push_back(std::make_unique<Fiber>());
  Fiber& fiber = *block.fibers[block.started++];
  fiber.done = false;
  fiber.wait = Wait::kNothing;
  resume(fiber);
}

bool may_go_on(const Fiber& fiber) {
  if (fiber.wait == Wait::kBlock) return fiber.generation != block.all.generation;
  return fiber.generation != block.warps[fiber.warp].generation;
}

void run_block() {
  block.next = 0;
  block.started = 0;
  cuda_host::begin_wgmma_block(block.total);
  block.all = {0, block.total, 0};
  const unsigned warps = (block.total + 31) / 32;
  block.warps.assign(warps, {});
  block.slots.resize(std::max<size_t>(block.slots.size(), warps), std::vector<double>(96));
  for (unsigned warp = 0; warp < warps; ++warp) block.warps[warp].size = std::min(32u, block.total - warp * 32);
  while (block.next < block.total) start_fiber();
  for (bool unfinished = true; unfinished;) {
    unfinished = false;
    bool progress = false;
    for (size_t i = 0; i < block.started; ++i) {
      Fiber& fiber = *block.fibers[i];
      if (fiber.done) continue;
      unfinished = true;
      if (!may_go_on(fiber)) continue;
      progress = true;
      resume(fiber);
    }
    if (unfinished && !progress) die("some threads of a block wait at a barrier that the others never reach");
  }
  cuda_host::end_wgmma_block();
}

void wait_at(Barrier& barrier, Wait wait) {
  Fiber* self = block.running;
  self->wait = wait;
  self->generation = barrier.arrive();
  if (barrier.generation != self->generation) return;  // the last one goes straight on
  yield_to_scheduler();
}

std::recursive_mutex device_mutex;

// ---- Memory

size_t setting(const char* name, size_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

struct Memory {
  static constexpr size_t kArena = size_t{1} << 38, kPage = 4096;
  const bool guarded = setting("CNNX_CUDA_HOST_GUARD", 0) != 0;
  const size_t total = setting("CNNX_CUDA_HOST_MEMORY", size_t{4} << 30);
  char* arena = nullptr;
  size_t used = 0;                           // of the arena: addresses handed out at any time
  std::multimap<size_t, char*> free_blocks;  // of the arena
  std::map<void*, size_t> live;
  size_t live_bytes = 0;
  int open = 0;  // kernels and copies under way

  void* allocate(size_t bytes) {
    if (live_bytes + bytes > total) return nullptr;
    bytes = std::max<size_t>(bytes, 1);
    void* block_of = nullptr;
    if (guarded) {
      block_of = from_arena((bytes + kPage - 1) / kPage * kPage);
    } else if (posix_memalign(&block_of, 256, bytes) != 0) {
      return nullptr;
    }
    live[block_of] = bytes;
    live_bytes += bytes;
    return block_of;
  }
  void* from_arena(size_t bytes) {
    if (!arena) {
      arena = static_cast<char*>(mmap(nullptr, kArena, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    }
    if (const auto found = free_blocks.find(bytes); found != free_blocks.end()) {
      char* block_of = found->second;
      free_blocks.erase(found);
      return block_of;
    }
    char* block_of = arena + used;
    used += bytes + kPage;
    if (used > kArena) die("the arena is used up");
    if (open > 0) mprotect(arena, used, PROT_READ | PROT_WRITE);
    return block_of;
  }
  void release(void* block_of) {
    const auto found = live.find(block_of);
    if (found == live.end()) die("memory was freed that is not the device's");
    live_bytes -= found->second;
    if (guarded) {
      const size_t bytes = (found->second + kPage - 1) / kPage * kPage;
      madvise(block_of, bytes, MADV_DONTNEED);
      free_blocks.emplace(bytes, static_cast<char*>(block_of));
    } else {
      std::free(block_of);
    }
    live.erase(found);
  }
};
Memory& memory() {
  static Memory* const the = new Memory;
  return *the;
}

/// While one lives, device memory can be touched.
class Access {
 public:
  Access() : lock_(device_mutex) {
    if (memory().open++ == 0) protect(PROT_READ | PROT_WRITE);
  }
  ~Access() {
    if (--memory().open == 0) protect(PROT_NONE);
  }
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;

 private:
  static void protect(int how) {
    if (memory().used > 0) mprotect(memory().arena, memory().used, how);
  }
  std::lock_guard<std::recursive_mutex> lock_;
};

}  // namespace

namespace cuda_host {

void wait_for_block() { wait_at(block.all, Wait::kBlock); }
void wait_for_warp() { wait_at(block.warps[block.running->warp], Wait::kWarp); }
void* warp_slots() { return block.slots[block.running->warp].data(); }

DynamicShared dynamic_shared() { return {dynamic_memory, block.shared_bytes}; }
bool allow_shared(const void* kernel, size_t bytes) {
  if (bytes > setting("CNNX_CUDA_HOST_SHARED", kMostShared)) return false;
  const std::lock_guard lock(device_mutex);
  allowed_shared[kernel] = bytes;
  return true;
}
bool may_have_shared(const void* kernel, size_t bytes) {
  const std::lock_guard lock(device_mutex);
  const auto found = allowed_shared.find(kernel);
  return bytes <= std::max<size_t>(48 << 10, found == allowed_shared.end() ? 0 : found->second);
}
void violation(const char* text) {
  if (!report) die(text);
  report(text);
}

void run_grid(dim3 grid, dim3 size, size_t shared, const std::function<void()>& thread) {
  if (size.x * size.y * size.z > 1024) die("a block has more than 1024 threads");
  if (grid.y > 65535 || grid.z > 65535 || grid.x >= 1u << 31) die("a grid is too large");
  const Access access;
  block.thread = &thread;
  block.size = blockDim = size;
  block.total = size.x * size.y * size.z;
  block.shared_bytes = shared;
  gridDim = grid;
  const char* order = std::getenv("CNNX_CUDA_HOST_ORDER");
  block.reversed = order && std::strcmp(order, "reverse") == 0;
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = {x, y, z};
        run_block();
      }
    }
  }
}

void copy_bytes(void* to, const void* from, size_t bytes) {
  const Access access;
  std::memcpy(to, from, bytes);
}
void fill_bytes(void* to, int value, size_t bytes) {
  const Access access;
  std::memset(to, value, bytes);
}

}  // namespace cuda_host

const char* cudaGetErrorString(cudaError_t code) {
  return code == cudaErrorMemoryAllocation ? "out of memory" : code == cudaErrorNoDevice ? "no device" : "error";
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }
cudaError_t cudaGetDeviceCount(int* count) {
  *count = static_cast<int>(setting("CNNX_CUDA_HOST_DEVICES", 2));
  return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
/// A device's entry in a variable with commas between; the last one is that of all the rest.
static std::string entry_of(int device, const char* variable, const char* otherwise) {
  const char* text = std::getenv(variable);
  std::istringstream entries(text ? text : otherwise);
  std::string entry;
  for (int i = 0; i <= device && std::getline(entries, entry, ','); ++i) {
  }
  return entry;
}
/// CNNX_CUDA_HOST_CAPABILITIES, such as 9.0,8.6: the devices' compute capabilities.
static std::pair<int, int> capability(int device) {
  const std::string text = entry_of(device, "CNNX_CUDA_HOST_CAPABILITIES", "9.0");
  return {std::atoi(text.c_str()), std::atoi(text.c_str() + text.find('.') + 1)};
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int device) {
  switch (which) {
    case cudaDevAttrComputeCapabilityMajor: *value = capability(device).first; break;
    case cudaDevAttrComputeCapabilityMinor: *value = capability(device).second; break;
    default: *value = 2;
  }
  return cudaSuccess;
}
/// CNNX_CUDA_HOST_NAMES: those of the devices.
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const std::string name = entry_of(device, "CNNX_CUDA_HOST_NAMES", "Host");
  *properties = {{}, capability(device).first, capability(device).second};
  name.copy(properties->name, sizeof(properties->name) - 1);
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** address, size_t bytes) {
  const std::lock_guard lock(device_mutex);
  *address = memory().allocate(bytes);
  return *address ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void* address) {
  cuda_host::drain();  // as CUDA does
  const std::lock_guard lock(device_mutex);
  memory().release(address);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const std::lock_guard lock(device_mutex);
  *total = memory().total;
  *free = memory().total - memory().live_bytes;
  return cudaSuccess;
}
