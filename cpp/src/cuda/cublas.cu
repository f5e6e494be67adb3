// Finds cuBLAS and calls it. CNNX_CUBLAS_LIBRARY names a file of its own; "none" leaves the products to cnnx's kernels.
//
// It is looked for as the system's loader does and, through this library's run path, in NVIDIA's Python packages beside
// cnnx and in the toolkit's usual folder. Its products are row-major ones of transposed matrices.
#include "cuda/cublas.h"

#include <dlfcn.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <type_traits>

#include "cuda/launch.h"
#include "cuda/shared_file.h"

namespace cnnx::cuda {
namespace {

// cuBLAS's own types, as its interface has them since version 4.
using Handle = struct cublasContext*;
using Status = int;
constexpr int kPlain = 0, kTransposed = 1;
template <class T>
using StridedBatched = Status (*)(Handle, int op_a, int op_b, int m, int n, int k, const T* alpha, const T* a, int lda,
                                  long long stride_a, const T* b, int ldb, long long stride_b, const T* beta, T* c,
                                  int ldc, long long stride_c, int count);

constexpr int kAnyAlgorithm = -1;
enum DataType { kFloat32 = 0, kFloat16 = 2, kBFloat16 = 14 };
enum ComputeType { kComputeFloat32 = 68, kComputeTF32 = 77 };
using StridedBatchedEx = Status (*)(Handle, int op_a, int op_b, int m, int n, int k, const void* alpha, const void* a,
                                    DataType type_a, int lda, long long stride_a, const void* b, DataType type_b,
                                    int ldb, long long stride_b, const void* beta, void* c, DataType type_c, int ldc,
                                    long long stride_c, int count, ComputeType compute, int algorithm);

struct Library {
  Status (*create)(Handle*) = nullptr;
  Status (*set_stream)(Handle, cudaStream_t) = nullptr;
  StridedBatched<float> multiply_float = nullptr;
  StridedBatched<double> multiply_double = nullptr;
  StridedBatchedEx multiply_any = nullptr;
};

/// The first of these that can be loaded, or null.
void* open_library() {
  const char* given = std::getenv("CNNX_CUBLAS_LIBRARY");
  if (given && *given) return std::string_view(given) == "none" ? nullptr : dlopen(given, RTLD_NOW | RTLD_LOCAL);
  for (const char* name : {"libcublas.so.13", "libcublas.so.12"}) {
    if (void* file = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return file;
  }
  return nullptr;
}

/// Null if there is no cuBLAS, or one without what is needed.
const Library* library() {
  static const Library* const found = []() -> const Library* {
    static Library functions;
    void* file = open_library();
    const bool complete = file && find_function(file, "cublasCreate_v2", functions.create) &&
                          find_function(file, "cublasSetStream_v2", functions.set_stream) &&
                          find_function(file, "cublasSgemmStridedBatched", functions.multiply_float) &&
                          find_function(file, "cublasDgemmStridedBatched", functions.multiply_double) &&
                          find_function(file, "cublasGemmStridedBatchedEx", functions.multiply_any);
    return complete ? &functions : nullptr;
  }();
  return found;
}

void check_cublas(Status status, const char* call) {
  if (status == 0) return;
  throw CudaError(std::string("[cuda] ") + call + " failed with status " + std::to_string(status) +
                  ". CNNX_CUBLAS_LIBRARY=none does without cuBLAS.");
}

std::mutex mutex;  // of all handles

/// One for each device; null before the first. Used under the mutex. Making one waits for the device.
Handle& handle_of_device() {
  static std::map<int, Handle> handles;
  return handles[device()];
}
Handle made_handle(const Library& cublas) {
  Handle& handle = handle_of_device();
  if (!handle) {
    Handle made = nullptr;  // what a failed call leaves there is no handle
    check_cublas(cublas.create(&made), "cublasCreate");
    handle = made;
  }
  return handle;
}
Handle use_handle(const Library& cublas) {
  const Handle handle = made_handle(cublas);
  check_cublas(cublas.set_stream(handle, stream()), "cublasSetStream");
  return handle;
}

}  // namespace

template <class T>
bool cublas_product(const Product& p, const T* a, const T* b, T* c) {
  if (!has_cublas()) return false;
  const Library& cublas = *library();
  const int m = static_cast<int>(p.m), n = static_cast<int>(p.n), k = static_cast<int>(p.k);
  const T one = 1, zero = 0;
  const std::lock_guard lock(mutex);
  StridedBatched<T> multiply;
  if constexpr (std::is_same_v<T, float>) {
    multiply = cublas.multiply_float;
  } else {
    multiply = cublas.multiply_double;
  }
  // c transposed = op(b) transposed times op(a) transposed; what is row-major here is transposed there already.
  check_cublas(multiply(use_handle(cublas), p.transpose_b ? kTransposed : kPlain, p.transpose_a ? kTransposed : kPlain,
                        n, m, k, &one, b, p.transpose_b ? k : n, p.step_b, a, p.transpose_a ? m : k, p.step_a, &zero, c,
                        n, p.m * p.n, static_cast<int>(p.items)),
               "a product");
  return true;
}

bool has_cublas() {
  if (!library()) return false;
  const std::lock_guard lock(mutex);
  return !is_capturing() || handle_of_device();
}

void prepare_cublas() {
  if (!library()) return;
  const std::lock_guard lock(mutex);
  made_handle(*library());
}

void cublas_tensor_product(const Product& p, const void* a, const void* b, float* c) {
  const int m = static_cast<int>(p.m), n = static_cast<int>(p.n), k = static_cast<int>(p.k);
  const float one = 1, zero = 0;
  const DataType type = p.precision == Precision::kTF32       ? kFloat32
                        : p.precision == Precision::kBFloat16 ? kBFloat16
                                                              : kFloat16;
  const ComputeType compute = p.precision == Precision::kTF32 ? kComputeTF32 : kComputeFloat32;
  const Library& cublas = *library();
  const std::lock_guard lock(mutex);
  check_cublas(cublas.multiply_any(use_handle(cublas), p.transpose_b ? kTransposed : kPlain,
                                   p.transpose_a ? kTransposed : kPlain, n, m, k, &one, b, type, p.transpose_b ? k : n,
                                   p.step_b, a, type, p.transpose_a ? m : k, p.step_a, &zero, c, kFloat32, n, p.m * p.n,
                                   static_cast<int>(p.items), compute, kAnyAlgorithm),
               "a product");
}

template bool cublas_product(const Product&, const float*, const float*, float*);
template bool cublas_product(const Product&, const double*, const double*, double*);

}  // namespace cnnx::cuda
