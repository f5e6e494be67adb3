// Where a tensor's buffer lives, and the settings of the CPU backend.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "cnnx/error.h"

namespace cnnx {

/// Tensors on "meta" have shapes but no values: operations allocate there what they would allocate elsewhere, in
/// address space that stays empty, and compute nothing. So a dry run of a model shows its shapes and its memory.
enum class DeviceType : unsigned char { kCpu, kCuda, kMeta };

struct Device {
  DeviceType type = DeviceType::kCpu;
  int index = 0;

  constexpr Device() = default;
  constexpr Device(DeviceType device_type, int device_index = 0) : type(device_type), index(device_index) {}
  /// Parses "cpu", "cuda", "cuda:1" or "meta".
  CNNX_API Device(std::string_view name);
  Device(const char* name) : Device(std::string_view(name)) {}

  bool is_cuda() const { return type == DeviceType::kCuda; }
  bool is_meta() const { return type == DeviceType::kMeta; }
  CNNX_API std::string str() const;
  bool operator==(const Device&) const = default;
};

/// While one lives, what this thread would make on the CPU is made on `device`: "cpu" or "meta". Under "meta" random
/// numbers are not drawn from the global generator either: a dry run leaves no trace.
class CNNX_API DeviceGuard {
 public:
  explicit DeviceGuard(Device device);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  Device previous_;
};

/// Threads used by one operation. At first CNNX_NUM_THREADS, else what the process's affinity and cgroup quota allow.
CNNX_API int num_threads();
CNNX_API void set_num_threads(int count);

/// The instruction set of the CPU kernels in use: "generic", "avx2" or "avx512"; CNNX_ISA asks for a lower one.
CNNX_API std::string cpu_isa_name();

/// Whether a CUDA device can be used, and how many there are.
CNNX_API bool cuda_is_available();
CNNX_API int cuda_device_count();

/// Memory of a CUDA device, of all processes, in bytes. Raises CudaError.
struct DeviceMemory {
  long long free = 0;
  long long total = 0;
};
CNNX_API DeviceMemory cuda_memory(Device device);

/// Returns when the device has done all it was given; operations on CUDA devices return before. Raises CudaError.
CNNX_API void synchronize(Device device);

/// What a buffer is for. Gradients of leaves and workspaces are told apart by the library, the rest by MemoryKindGuard.
enum class MemoryKind : unsigned char { kActivation, kParameter, kGradient, kOptimizer, kBatch, kWorkspace };
inline constexpr int kMemoryKinds = 6;

/// While one lives, the buffers that this thread makes are of a kind.
class CNNX_API MemoryKindGuard {
 public:
  explicit MemoryKindGuard(MemoryKind kind);
  ~MemoryKindGuard();
  MemoryKindGuard(const MemoryKindGuard&) = delete;
  MemoryKindGuard& operator=(const MemoryKindGuard&) = delete;

 private:
  MemoryKind previous_;
};

/// Bytes held by live buffers, the most there were, and the bytes kept for reuse.
struct MemoryStats {
  long long current = 0;
  long long peak = 0;
  long long cached = 0;
  /// What live and cached buffers take of the machine's memory, and the most that was. The end of a buffer, rounded up
  /// to its size class, takes nothing before somebody asks for so much.
  long long resident = 0;
  long long resident_peak = 0;
  std::array<long long, kMemoryKinds> by_kind{};
  std::array<long long, kMemoryKinds> peak_by_kind{};  ///< At the first moment of the peak.
};
CNNX_API MemoryStats memory_stats(Device device = {});
CNNX_API void reset_peak_memory(Device device = {});
/// Returns all cached buffers to the operating system.
CNNX_API void empty_cache(Device device = {});

/// The largest workspace that one operation may ask for: no limit at first. Convolutions take another algorithm or
/// work in smaller pieces; the smallest pieces are allowed always.
CNNX_API void set_workspace_limit(int64_t bytes);
CNNX_API int64_t workspace_limit();

}  // namespace cnnx
