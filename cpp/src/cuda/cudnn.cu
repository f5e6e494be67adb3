// Finds cuDNN. CNNX_CUDNN=0 does without it; CNNX_CUDNN may also name the file libcudnn.so.9, with its parts beside it.
//
// It is looked for as cuBLAS is. libcudnn.so.9 only passes calls on to the libraries that are its parts, and ends the
// process when it does not find one; so these are loaded first, and an installation without one counts as none.
#include "cuda/cudnn.h"

#include <dlfcn.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "cuda/shared_file.h"

namespace cnnx::cuda {
namespace cudnn {
namespace {

/// What convolutions need; the rest is for attention and recurrent nets.
constexpr const char* kParts[] = {
    "graph", "ops", "cnn", "heuristic", "engines_precompiled", "engines_runtime_compiled"};

/// Lazily bound: an older driver may lack functions that are called on newer ones alone.
void* open_file(const std::string& file) { return dlopen(file.c_str(), RTLD_LAZY | RTLD_LOCAL); }

/// Null if a part is missing.
void* open_library() {
  const char* given = std::getenv("CNNX_CUDNN");
  const std::string_view file = given && *given ? given : "libcudnn.so.9";
  if (file == "0") return nullptr;
  const std::string folder(file.substr(0, file.rfind('/') + 1));  // npos + 1 is 0
  for (const char* part : kParts) {
    if (!open_file(folder + "libcudnn_" + part + ".so.9")) return nullptr;
  }
  return open_file(std::string(file));
}

bool find_pass(void* file, const std::string& name, Pass& pass) {
  return find_function(file, "cudnnGetConvolution" + name + "Algorithm_v7", pass.find) &&
         find_function(file, "cudnnGetConvolution" + name + "WorkspaceSize", pass.workspace) &&
         find_function(file, "cudnnConvolution" + name, pass.run);
}

bool find_all(void* file, Library& cudnn) {
  return find_function(file, "cudnnGetVersion", cudnn.version) &&
         find_function(file, "cudnnGetErrorString", cudnn.error_text) &&
         find_function(file, "cudnnCreate", cudnn.create) && find_function(file, "cudnnSetStream", cudnn.set_stream) &&
         find_function(file, "cudnnCreateTensorDescriptor", cudnn.create_tensor) &&
         find_function(file, "cudnnDestroyTensorDescriptor", cudnn.destroy_tensor) &&
         find_function(file, "cudnnSetTensor4dDescriptor", cudnn.set_tensor) &&
         find_function(file, "cudnnCreateFilterDescriptor", cudnn.create_filter) &&
         find_function(file, "cudnnDestroyFilterDescriptor", cudnn.destroy_filter) &&
         find_function(file, "cudnnSetFilter4dDescriptor", cudnn.set_filter) &&
         find_function(file, "cudnnCreateConvolutionDescriptor", cudnn.create_convolution) &&
         find_function(file, "cudnnDestroyConvolutionDescriptor", cudnn.destroy_convolution) &&
         find_function(file, "cudnnSetConvolution2dDescriptor", cudnn.set_convolution) &&
         find_function(file, "cudnnSetConvolutionGroupCount", cudnn.set_groups) &&
         find_function(file, "cudnnSetConvolutionMathType", cudnn.set_math) &&
         find_pass(file, "Forward", cudnn.passes[0]) && find_pass(file, "BackwardData", cudnn.passes[1]) &&
         find_pass(file, "BackwardFilter", cudnn.passes[2]);
}

struct Handles {
  std::mutex mutex;
  std::map<int, Handle> of_devices;
};
Handles& handles() {
  static Handles* const all = new Handles;  // never destroyed: cuDNN may be gone at the process's end
  return *all;
}

}  // namespace

const Library* library() {
  static const Library* const found = []() -> const Library* {
    static Library functions;
    void* file = open_library();
    return file && find_all(file, functions) && functions.version() / 10000 == 9 ? &functions : nullptr;
  }();
  return found;
}

Handle handle() {
  const std::lock_guard lock(handles().mutex);
  Handle& kept = handles().of_devices[device()];
  if (!kept) {
    Handle made = nullptr;  // what a failed call leaves there is no handle
    check(library()->create(&made), "initialisation");
    kept = made;
  }
  return kept;
}
bool has_handle() {
  const std::lock_guard lock(handles().mutex);
  return handles().of_devices[device()] != nullptr;
}

void check(Status status, const char* call) {
  if (status == 0) return;
  throw CudaError(std::string("[conv2d] cuDNN's ") + call + " failed: " + library()->error_text(status) + " (status " +
                  std::to_string(status) + "). CNNX_CUDNN=0 does without cuDNN.");
}

}  // namespace cudnn

void prepare_cudnn() {
  if (cudnn::library()) cudnn::handle();
}

int cudnn_version() {
  const cudnn::Library* const found = cudnn::library();
  return found ? static_cast<int>(found->version()) : 0;
}

}  // namespace cnnx::cuda
