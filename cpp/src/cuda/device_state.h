// What the library keeps for each device, shared by the sources that export it: library.cu, graph.cu, transfer.cu.
#pragma once

#include <atomic>
#include <mutex>
#include <string>

#include "cuda/checks.h"
#include "cuda/library.h"

namespace cnnx::cuda {

/// The instructions of tensor cores that a device uses.
enum class TensorCores : unsigned char { kNone, kMmaSync, kWgmma };

struct DeviceState {
  std::once_flag once;
  cudaStream_t stream = nullptr, copy_stream = nullptr, capture_stream = nullptr;
  int multiprocessors = 1;
  FailedCheck* failed = nullptr;
  std::atomic<bool> is_captured{false};  // some thread captures
  std::once_flag tensor_cores_known;
  TensorCores tensor_cores = TensorCores::kNone;
  std::once_flag described;
  const std::string* description = nullptr;
};

/// That of a device which use_device() chose before, and of the one the calling thread uses.
DeviceState& state_of(int device);
DeviceState& current();

void use_device(int device);
void synchronize(int device);

/// Raises CudaError if the calling thread captures.
void check_may_wait(const char* what);
/// Waits for a stream of the device, and raises what failed there.
void wait_for(int device, cudaStream_t stream);

// graph.cu
void begin_capture(int device);
void* end_capture(int device, bool keep);
void replay(int device, void* graph);
void release_graph(int device, void* graph);
/// The device of the calling thread's capture, or -1.
int captured_device();

// transfer.cu
void copy(void* to, int to_device, const void* from, int from_device, size_t bytes);
void upload_to(int device, void* to, const void* from, size_t bytes);
void* pin(size_t bytes);
void copy_async(int device, CudaLane lane, void* to, const void* from, size_t bytes);
void* make_event(int device);
void record(int device, CudaLane lane, void* event);
void wait(int device, CudaLane lane, void* event);
void wait_on_host(void* event);
void release_event(void* event);
void* work_stream(int device);
void meet(int device, void* stream, bool they_wait);
void settle(int device, bool everybody);

}  // namespace cnnx::cuda
