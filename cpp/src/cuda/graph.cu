// Capturing what a thread launches as a CUDA graph, and running that.
//
// A capture has a stream of its own, so that what other threads do meanwhile runs as always. The mode is relaxed: the
// allocator may ask the device for memory. Whatever would wait is refused here, before CUDA would end the capture.
#include "cuda/cublas.h"
#include "cuda/cudnn.h"
#include "cuda/device_state.h"
#include "cuda/tensor_cores.h"

namespace cnnx::cuda {
namespace {

thread_local int captured = -1;

/// Gives up a capture that went wrong; the errors of that are those of what went wrong before.
void discard(cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  if (cudaStreamEndCapture(stream, &graph) == cudaSuccess && graph) cudaGraphDestroy(graph);
  cudaGetLastError();
}

/// What products and convolutions of a capture could not make themselves, as that waits. Where it fails, they do
/// without.
void prepare_libraries() {
  for (void (*prepare)() : {prepare_cublas, prepare_cudnn, prepare_tensor_cores}) {
    try {
      prepare();
    } catch (const CudaError&) {
    }
  }
}

}  // namespace

int captured_device() { return captured; }
bool is_capturing() { return captured >= 0; }

void check_may_wait(const char* what) {
  if (captured < 0) return;
  throw CudaError(std::string("[graph] a captured function cannot wait for the GPU; got ") + what +
                  ". Return the tensor, and read it after the call.");
}

void begin_capture(int device) {
  use_device(device);
  DeviceState& state = state_of(device);
  if (captured >= 0 || state.is_captured.exchange(true)) {
    throw CudaError("[graph] one capture at a time runs on a device; got a second one.");
  }
  try {
    prepare_libraries();
    if (!state.capture_stream) {
      check_cuda(cudaStreamCreateWithFlags(&state.capture_stream, cudaStreamNonBlocking), "cudaStreamCreate");
    }
    check_cuda(cudaStreamBeginCapture(state.capture_stream, cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
  } catch (...) {
    state.is_captured = false;
    throw;
  }
  captured = device;
}

void* end_capture(int device, bool keep) {
  DeviceState& state = state_of(device);
  captured = -1;
  struct Release {
    std::atomic<bool>& flag;
    ~Release() { flag = false; }
  } const release{state.is_captured};
  if (!keep) {
    discard(state.capture_stream);
    return nullptr;
  }
  cudaGraph_t graph = nullptr;
  check_cuda(cudaStreamEndCapture(state.capture_stream, &graph), "cudaStreamEndCapture");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t code = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check_cuda(code, "cudaGraphInstantiate");
  return executable;
}

void replay(int device, void* graph) {
  check_may_wait("a call of another graph");
  use_device(device);
  check_cuda(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), state_of(device).stream), "cudaGraphLaunch");
}

/// Waits: the device may still be at it.
void release_graph(int device, void* graph) {
  use_device(device);
  cudaStreamSynchronize(state_of(device).stream);
  cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph));
  cudaGetLastError();
}

}  // namespace cnnx::cuda
