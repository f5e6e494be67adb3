// The CUDA library as the rest of cnnx sees it: one C function that returns a table of functions.
//
// It is a shared library of its own, so that one installation works with and without a GPU. Nothing else of cnnx calls
// CUDA. load.cpp opens it when "cuda" is first used; no_cuda.cpp stands in for that in a build without CUDA.
#pragma once

#include <cstddef>

namespace cnnx {

/// The devices after these are not used.
inline constexpr int kMostCudaDevices = 64;

/// What the library asks of the rest: memory of the caching allocator, with a handle that gives it back.
struct CudaHost {
  void* (*allocate)(int device, size_t bytes, void** handle);
  void (*release)(void* handle);
};

/// The streams of a device: where it works, and where copies run beside that.
enum class CudaLane : unsigned char { kWork, kCopy };

/// Every function but device_count may raise CudaError. A device of -1 is the host. What waits for a device raises the
/// std::out_of_range of a check that failed there, and CudaError while this thread captures.
struct CudaLibrary {
  /// Of the cnnx it was built with: tables of kernels change from one to the next.
  const char* version;
  /// The devices that can be used. If there are none, `reason` says what is missing.
  int (*device_count)(const char** reason);
  /// What the calling thread does next, it does on this device.
  void (*use_device)(int device);
  /// Memory that is ready at once; null if there is not enough.
  void* (*allocate)(int device, size_t bytes);
  void (*release)(int device, void* memory, size_t bytes);
  void (*memory_info)(int device, size_t* free, size_t* total);
  /// In order with the kernels of both devices; done when it returns if the host takes part.
  void (*copy)(void* to, int to_device, const void* from, int from_device, size_t bytes);
  /// Returns when the device has done all it was given.
  void (*synchronize)(int device);
  /// The table of kernels whose type has this name; null if there is none yet.
  const void* (*table)(const char* type_name);
  /// Called once, before anything else but device_count.
  void (*connect)(const CudaHost* host);

  // Graphs. What this thread launches between the two is not run but kept; `keep` tells whether it is wanted.
  void (*begin_capture)(int device);
  void* (*end_capture)(int device, bool keep);
  void (*replay)(int device, void* graph);
  void (*release_graph)(int device, void* graph);
  /// Copies a little from the host in order with the kernels; `from` may change when it returns.
  void (*upload)(int device, void* to, const void* from, size_t bytes);

  // Copies that run while the device works. Memory for them is the host's, page-locked; null if there is not enough.
  void* (*pin)(size_t bytes);
  void (*copy_async)(int device, CudaLane lane, void* to, const void* from, size_t bytes);
  /// An event passes when its lane has done what it was given before; a lane waits for one that was recorded.
  void* (*make_event)(int device);
  void (*record)(int device, CudaLane lane, void* event);
  void (*wait)(int device, CudaLane lane, void* event);
  void (*wait_on_host)(void* event);
  void (*release_event)(void* event);

  // Streams of other libraries, as DLPack numbers them.
  void* (*work_stream)(int device);
  /// One of the two, their stream and the work of the device, waits for what the other was given.
  void (*meet)(int device, void* stream, bool they_wait);
  /// Waits for the work of the device, or for everybody's, and raises nothing that failed there.
  void (*settle)(int device, bool everybody);

  /// That of cuDNN, as it numbers them; 0 if there is none.
  int (*cudnn_version)();
  /// What times on the device depend on: its name and the versions of what runs there. Stays for the process.
  const char* (*describe)(int device);
  /// The instructions of tensor cores that products use there, "wgmma" or "mma.sync"; null without tensor cores.
  const char* (*tensor_cores)(int device);
};

/// The library, loaded, with at least one device. Raises CudaError that says what is missing.
const CudaLibrary& cuda_library();
/// Raises CudaError unless there is a device of this number.
void check_cuda_device(int device);

using CudaLibraryFunction = const CudaLibrary* (*)();
inline constexpr const char* kCudaLibraryFunction = "cnnx_cuda_library";

}  // namespace cnnx
