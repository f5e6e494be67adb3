// The CUDA library as the rest of cnnx sees it: one C function that returns a table of functions.
//
// It is a shared library of its own, so that one installation works with and without a GPU. Nothing else of cnnx calls
// CUDA. load.cpp opens it when "cuda" is first used; no_cuda.cpp stands in for that in a build without CUDA.
#pragma once

#include <cstddef>

namespace cnnx {

/// The devices after these are not used.
inline constexpr int kMostCudaDevices = 64;

/// Every function but device_count may raise CudaError. A device of -1 is the host.
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
};

/// The library, loaded, with at least one device. Raises CudaError that says what is missing.
const CudaLibrary& cuda_library();
/// Raises CudaError unless there is a device of this number.
void check_cuda_device(int device);

using CudaLibraryFunction = const CudaLibrary* (*)();
inline constexpr const char* kCudaLibraryFunction = "cnnx_cuda_library";

}  // namespace cnnx
