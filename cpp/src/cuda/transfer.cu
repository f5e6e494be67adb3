// Copies between the host and devices: those that wait, those that run beside the work, and page-locked memory for
// them.
#include <cstring>

#include "check.h"
#include "cuda/device_state.h"

namespace cnnx::cuda {
namespace {

/// What the arguments of one launch carry.
struct Words {
  static constexpr size_t kMost = 3584;
  unsigned char byte[kMost];
};
constexpr size_t kMostLaunches = 10;  // for a table, before it is copied by cudaMemcpy

__global__ void __launch_bounds__(kThreads) write_words(Words words, unsigned bytes, unsigned char* to) {
  for (unsigned i = threadIdx.x; i < bytes; i += kThreads) to[i] = words.byte[i];
}

/// Never that of a capture: what is waited for happens outside of it.
cudaStream_t lane_stream(int device, CudaLane lane) {
  use_device(device);
  const DeviceState& state = state_of(device);
  return lane == CudaLane::kWork ? state.stream : state.copy_stream;
}

}  // namespace

void wait_for(int device, cudaStream_t stream) {
  check_cuda(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  FailedCheck& failed = *state_of(device).failed;
  if (!failed.op) return;
  const FailedCheck check = failed;
  failed = {};
  fail<std::out_of_range>(check.op, check.text, check.values[0], check.values[1], check.values[2]);
}

void copy(void* to, int to_device, const void* from, int from_device, size_t bytes) {
  if (bytes == 0) return;
  if (to_device >= 0 && from_device >= 0 && to_device != from_device) {
    check_may_wait("a copy between devices");
    synchronize(from_device);
    use_device(to_device);
    check_cuda(cudaMemcpyPeerAsync(to, to_device, from, from_device, bytes, stream()), "a copy between devices");
    synchronize(to_device);
    return;
  }
  if (to_device < 0) check_may_wait("values that the host reads, as by item(), numpy() or print()");
  if (from_device < 0) check_may_wait("a copy from the CPU to the GPU");
  const int device = std::max(to_device, from_device);
  use_device(device);
  const cudaMemcpyKind kind = to_device < 0     ? cudaMemcpyDeviceToHost
                              : from_device < 0 ? cudaMemcpyHostToDevice
                                                : cudaMemcpyDeviceToDevice;
  check_cuda(cudaMemcpyAsync(to, from, bytes, kind, stream()), "a copy");
  if (to_device < 0) {
    wait_for(device, stream());
  } else if (from_device < 0) {
    check_cuda(cudaStreamSynchronize(stream()), "a copy");
  }
}

void upload(void* to, const void* from, size_t bytes) {
  if (bytes > kMostLaunches * Words::kMost) {
    check_may_wait("a large table that the CPU makes");
    copy(to, device(), from, -1, bytes);
    return;
  }
  for (size_t done = 0; done < bytes; done += Words::kMost) {
    const size_t now = std::min(bytes - done, Words::kMost);
    Words words{};
    std::memcpy(words.byte, static_cast<const char*>(from) + done, now);
    launch(write_words, dim3(1), dim3(kThreads), 0, words, static_cast<unsigned>(now),
           static_cast<unsigned char*>(to) + done);
  }
}

void upload_to(int device, void* to, const void* from, size_t bytes) {
  use_device(device);
  upload(to, from, bytes);
}

void* pin(size_t bytes) {
  void* memory = nullptr;
  const cudaError_t code = cudaHostAlloc(&memory, bytes, cudaHostAllocPortable);
  if (code == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check_cuda(code, "cudaHostAlloc");
  return memory;
}

void copy_async(int device, CudaLane lane, void* to, const void* from, size_t bytes) {
  const cudaStream_t on = lane_stream(device, lane);
  if (lane == CudaLane::kWork) check_may_wait("a copy from the CPU to the GPU");
  if (bytes > 0) check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, on), "a copy");
}

void* make_event(int device) {
  use_device(device);
  cudaEvent_t event = nullptr;
  check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
  return event;
}

void record(int device, CudaLane lane, void* event) {
  const cudaStream_t on = lane_stream(device, lane);
  check_cuda(cudaEventRecord(static_cast<cudaEvent_t>(event), on), "cudaEventRecord");
}

void wait(int device, CudaLane lane, void* event) {
  const cudaStream_t on = lane_stream(device, lane);
  check_cuda(cudaStreamWaitEvent(on, static_cast<cudaEvent_t>(event), 0), "cudaStreamWaitEvent");
}

void wait_on_host(void* event) {
  check_cuda(cudaEventSynchronize(static_cast<cudaEvent_t>(event)), "cudaEventSynchronize");
}

void release_event(void* event) { check_cuda(cudaEventDestroy(static_cast<cudaEvent_t>(event)), "cudaEventDestroy"); }

void* work_stream(int device) {
  use_device(device);
  return state_of(device).stream;
}

void meet(int device, void* stream, bool they_wait) {
  const auto event = static_cast<cudaEvent_t>(make_event(device));
  const auto theirs = static_cast<cudaStream_t>(stream), ours = state_of(device).stream;
  cudaError_t code = cudaEventRecord(event, they_wait ? ours : theirs);
  if (code == cudaSuccess) code = cudaStreamWaitEvent(they_wait ? theirs : ours, event, 0);
  cudaEventDestroy(event);
  check_cuda(code, "a wait between streams");
}

void settle(int device, bool everybody) {
  use_device(device);
  check_cuda(everybody ? cudaDeviceSynchronize() : cudaStreamSynchronize(state_of(device).stream), "a wait");
}

}  // namespace cnnx::cuda
