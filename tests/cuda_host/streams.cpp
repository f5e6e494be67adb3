// The host's stand-in for the CUDA runtime: streams, events, page-locked memory and graphs.
//
// Work runs when it is put into a stream. With CNNX_CUDA_HOST_LAZY=1 it waits there until something waits for it, so
// that a copy whose source is changed too soon, and a stream that does not wait for another, give wrong values. A
// captured stream keeps its work for a graph; where CUDA would refuse to wait for one, so does this.
#include "cuda_runtime.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <vector>

using Work = std::function<void()>;

struct CUstream_st {
  std::deque<Work> queue;
  size_t done = 0;  // of all that was ever put into the queue
  bool captured = false;
  std::vector<Work> kept;
  size_t submitted() const { return done + queue.size(); }
};
struct CUevent_st {
  cudaStream_t stream = nullptr;
  size_t position = 0;
};
struct CUgraph_st {
  std::vector<Work> work;
};
struct CUgraphExec_st {
  std::vector<Work> work;
};

namespace {

std::recursive_mutex mutex;
std::set<cudaStream_t> streams;
std::map<const char*, size_t> pinned;

bool is_lazy() {
  const char* text = std::getenv("CNNX_CUDA_HOST_LAZY");
  return text && *text == '1';
}

[[noreturn]] void die(const char* text) {
  std::fprintf(stderr, "cuda_host: %s\n", text);
  std::abort();
}

void drain_to(cudaStream_t stream, size_t position) {
  while (stream->done < position) {
    const Work next = std::move(stream->queue.front());
    stream->queue.pop_front();
    next();
    ++stream->done;
  }
}

bool is_pinned(const void* address) {
  const auto* at = static_cast<const char*>(address);
  const auto next = pinned.upper_bound(at);
  return next != pinned.begin() && at < std::prev(next)->first + std::prev(next)->second;
}

/// The default streams, on which other libraries work.
bool is_others(cudaStream_t stream) { return stream == cudaStreamLegacy || stream == cudaStreamPerThread; }

cudaStream_t usable(cudaStream_t stream) {
  if (!streams.count(stream)) die("a stream was used that was never made");
  return stream;
}

}  // namespace

namespace cuda_host {

void submit(cudaStream_t stream, Work work) {
  const std::lock_guard lock(mutex);
  if (usable(stream)->captured) {
    stream->kept.push_back(std::move(work));
    return;
  }
  stream->queue.push_back(std::move(work));
  if (!is_lazy()) drain_to(stream, stream->submitted());
}

void drain() {
  const std::lock_guard lock(mutex);
  for (const cudaStream_t stream : streams) drain_to(stream, stream->submitted());
}

bool is_capturing() {
  const std::lock_guard lock(mutex);
  return std::any_of(streams.begin(), streams.end(), [](cudaStream_t stream) { return stream->captured; });
}

}  // namespace cuda_host

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const std::lock_guard lock(mutex);
  *stream = *streams.insert(new CUstream_st).first;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  if (usable(stream)->captured) return cudaErrorStreamCaptureUnsupported;
  drain_to(stream, stream->submitted());
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  if (cuda_host::is_capturing()) return cudaErrorStreamCaptureUnsupported;
  cuda_host::drain();
  return cudaSuccess;
}

// ---- Memory

cudaError_t cudaHostAlloc(void** address, size_t bytes, unsigned) {
  const std::lock_guard lock(mutex);
  if (posix_memalign(address, 256, std::max<size_t>(bytes, 1)) != 0) return cudaErrorMemoryAllocation;
  pinned[static_cast<const char*>(*address)] = bytes;
  return cudaSuccess;
}

/// Of memory that is not page-locked, a copy to the device has been read when this returns; one to the host is done.
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  const bool from_host = kind == cudaMemcpyHostToDevice && !is_pinned(from);
  if (from_host) {
    if (usable(stream)->captured) die("a graph would copy memory of the host that may be gone when it runs");
    const auto* begin = static_cast<const char*>(from);
    cuda_host::submit(stream, [=, staged = std::vector<char>(begin, begin + bytes)] {
      cuda_host::copy_bytes(to, staged.data(), bytes);
    });
    return cudaSuccess;
  }
  cuda_host::submit(stream, [=] { cuda_host::copy_bytes(to, from, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes, cudaStream_t stream) {
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}
cudaError_t cudaMemsetAsync(void* address, int value, size_t bytes, cudaStream_t stream) {
  cuda_host::submit(stream, [=] { cuda_host::fill_bytes(address, value, bytes); });
  return cudaSuccess;
}

// ---- Events

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  if (is_others(stream)) {  // nothing is ever under way there
    event->stream = nullptr;
    return cudaSuccess;
  }
  if (usable(stream)->captured) return cudaErrorStreamCaptureUnsupported;
  *event = {stream, stream->submitted()};
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const std::lock_guard lock(mutex);
  if (event->stream) drain_to(event->stream, event->position);
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const std::lock_guard lock(mutex);
  const CUevent_st recorded = *event;
  if (!recorded.stream) return cudaSuccess;
  if (is_others(stream)) {  // they read at once
    drain_to(recorded.stream, recorded.position);
    return cudaSuccess;
  }
  cuda_host::submit(stream, [recorded] { drain_to(recorded.stream, recorded.position); });
  return cudaSuccess;
}

// ---- Graphs

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const std::lock_guard lock(mutex);
  if (usable(stream)->captured) return cudaErrorInvalidValue;
  stream->captured = true;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const std::lock_guard lock(mutex);
  if (!usable(stream)->captured) return cudaErrorInvalidValue;
  stream->captured = false;
  *graph = new CUgraph_st{std::move(stream->kept)};
  stream->kept.clear();
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  cuda_host::submit(stream, [work = executable->work] {
    for (const Work& each : work) each();
  });
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
