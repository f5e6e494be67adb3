// Copies to a GPU that run while it works: page-locked memory of the host, and uploads beside the work.
#pragma once

#include <memory>

#include "cnnx/tensor.h"

namespace cnnx {

/// An uninitialised tensor of the CPU in page-locked memory, which a GPU reads by itself. It is used again for the next
/// tensor of about the size. Raises CudaError without a GPU, std::bad_alloc without memory.
CNNX_API Tensor empty_pinned(const Shape& shape, DType dtype);
CNNX_API bool is_pinned(const Tensor& x);
/// x itself if it is there already, else a copy.
CNNX_API Tensor pin_memory(const Tensor& x);

/// A tensor on its way to a GPU. take() makes what the GPU does next wait for it, not the caller.
class CNNX_API Arrival {
 public:
  Tensor take();

 private:
  friend class Uploader;
  struct State;
  std::shared_ptr<State> state_;
  Tensor tensor_;
};

/// Copies tensors to a GPU beside its work, into buffers of its own that it uses again: a copy waits for the work that
/// read the buffer before, not for all that the GPU was given. For one thread at a time.
class CNNX_API Uploader {
 public:
  explicit Uploader(Device device);
  ~Uploader();
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;

  /// Starts to copy a tensor of the CPU, which may be dropped meanwhile but not changed if it is page-locked.
  Arrival start(const Tensor& source);

 private:
  struct Ring;
  std::shared_ptr<Ring> ring_;
};

// Streams of other libraries are CUDA's handles, or 1 for the legacy default stream and 2 for that of the thread.

/// The stream on which a device works.
CNNX_API uint64_t work_stream(Device device);
/// One of the two, their stream and the work of the device, waits for what the other was given.
CNNX_API void meet_stream(Device device, uint64_t stream, bool they_wait);
/// Returns when the device has done all that cnnx gave it, or everybody; raises nothing.
CNNX_API void settle(Device device, bool everybody) noexcept;

}  // namespace cnnx
