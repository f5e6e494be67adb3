// Where a tensor's buffer lives, and the settings of the CPU backend.
#pragma once

#include <string>
#include <string_view>

#include "cnnx/error.h"

namespace cnnx {

enum class DeviceType : unsigned char { kCpu, kCuda };

struct Device {
  DeviceType type = DeviceType::kCpu;
  int index = 0;

  constexpr Device() = default;
  constexpr Device(DeviceType device_type, int device_index = 0) : type(device_type), index(device_index) {}
  /// Parses "cpu", "cuda" or "cuda:1".
  CNNX_API Device(std::string_view name);
  Device(const char* name) : Device(std::string_view(name)) {}

  bool is_cuda() const { return type == DeviceType::kCuda; }
  CNNX_API std::string str() const;
  bool operator==(const Device&) const = default;
};

/// Threads used by one operation. At first CNNX_NUM_THREADS, else what the process's affinity and cgroup quota allow.
CNNX_API int num_threads();
CNNX_API void set_num_threads(int count);

/// The instruction set of the CPU kernels in use: "generic", "avx2" or "avx512"; CNNX_ISA asks for a lower one.
CNNX_API std::string cpu_isa_name();

/// Whether a CUDA device can be used.
CNNX_API bool cuda_is_available();

/// Bytes held by live tensors on the CPU, their peak, and the bytes kept for reuse.
struct MemoryStats {
  long long current = 0;
  long long peak = 0;
  long long cached = 0;
};
CNNX_API MemoryStats memory_stats();
CNNX_API void reset_peak_memory();
/// Returns all cached buffers to the operating system.
CNNX_API void empty_cache();

}  // namespace cnnx
