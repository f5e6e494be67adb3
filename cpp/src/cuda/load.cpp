// Loads the CUDA library when "cuda" is first used, and says what is missing where it cannot be.
//
// It lies beside libcnnx; CNNX_CUDA_LIBRARY names another file. A failure is not remembered: what was missing may be
// there at the next call.
#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <mutex>

#include <pthread.h>

#include "check.h"
#include "cnnx/cudnn.h"
#include "cnnx/version.h"
#include "cuda/library.h"
#include "storage.h"

namespace cnnx {
namespace {

std::atomic<const CudaLibrary*> loaded{nullptr};
std::atomic<bool> forked{false};  // since it was loaded: CUDA does not work in a forked child

/// The file: beside the library that this function is part of.
std::string library_path() {
  if (const char* path = std::getenv("CNNX_CUDA_LIBRARY"); path && *path) return path;
  Dl_info info{};
  dladdr(reinterpret_cast<const void*>(&library_path), &info);
  const std::string self = info.dli_fname ? info.dli_fname : "";
  return self.substr(0, self.find_last_of('/') + 1) + "libcnnx_cuda.so";
}

/// Scratch memory of launchers.
constexpr CudaHost kHost{[](int device, size_t bytes, void** handle) -> void* {
                           auto* const memory = new Workspace(bytes, {DeviceType::kCuda, device});
                           *handle = memory;
                           return memory->data();
                         },
                         [](void* handle) { delete static_cast<Workspace*>(handle); }};

/// The library of a file. Raises CudaError.
const CudaLibrary* open_library(const std::string& path) {
  constexpr const char* kOp = "cuda";
  void* file = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!file) {
    const char* reason = dlerror();
    fail<CudaError>(kOp,
                    "the CUDA part of cnnx could not be loaded: {}. Install it with: pip install . -C "
                    "cmake.define.CNNX_CUDA=ON (needs CUDA's compiler, nvcc, 12.4 or later).",
                    reason ? reason : path);
  }
  const auto function = reinterpret_cast<CudaLibraryFunction>(dlsym(file, kCudaLibraryFunction));
  check<CudaError>(function != nullptr, kOp, "{} is not the CUDA part of cnnx. Install cnnx anew.", path);
  const CudaLibrary* library = function();
  check<CudaError>(std::string_view(library->version) == CNNX_VERSION, kOp,
                   "{} belongs to cnnx {}; this is {}. Install cnnx anew.", path, library->version, CNNX_VERSION);
  return library;
}

const CudaLibrary& load() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (const CudaLibrary* library = loaded.load()) return *library;
  const CudaLibrary* library = open_library(library_path());
  const char* reason = "";
  check<CudaError>(library->device_count(&reason) > 0, "cuda", "{}", reason);
  library->connect(&kHost);
  pthread_atfork(nullptr, nullptr, [] { forked.store(true); });
  loaded.store(library);
  return *library;
}

}  // namespace

const CudaLibrary& cuda_library() {
  check<CudaError>(!forked.load(std::memory_order_relaxed), "cuda",
                   "a forked process cannot use the GPU that its parent uses. Start it with \"spawn\".");
  if (const CudaLibrary* library = loaded.load(std::memory_order_acquire)) [[likely]]
    return *library;
  return load();
}

int cuda_device_count() {
  try {
    const char* reason = "";
    return cuda_library().device_count(&reason);
  } catch (const CudaError&) {
    return 0;
  }
}

bool cuda_is_available() { return cuda_device_count() > 0; }

int cudnn_version() { return cuda_is_available() ? cuda_library().cudnn_version() : 0; }

void check_cuda_device(int device) {
  const char* reason = "";
  const int count = cuda_library().device_count(&reason);
  check<CudaError>(device < count, "cuda", "there {} {} CUDA device{}; got device \"cuda:{}\". They count from 0.",
                   count == 1 ? "is" : "are", count, count == 1 ? "" : "s", device);
}

}  // namespace cnnx
