// cuDNN 9, where it is installed: found when the first convolution is wanted, never linked, and not needed to build.
//
// What cnnx calls of it is declared here, as cuDNN 9.28's headers have it: the interface that it calls legacy, which
// all of its versions 9 have.
#pragma once

#include <cstddef>

#include "cuda/launch.h"

namespace cnnx::cuda::cudnn {

using Handle = struct cudnnContext*;
using Status = int;
using Descriptor = void*;  // of a tensor, a filter or a convolution

constexpr int kNchw = 0, kCrossCorrelation = 1, kDeterministic = 1;
enum DataType { kFloat32 = 0, kFloat64 = 1 };
/// What multiplies: kDefaultMath and kTensorMath may take TF32 for float32, kConvertingMath 16 bits, kFmaMath neither.
enum MathType { kDefaultMath = 0, kTensorMath = 1, kConvertingMath = 2, kFmaMath = 3 };

/// What a heuristic says of one algorithm: cudnnConvolution*AlgoPerf_t.
struct Found {
  int algorithm;
  Status status;
  float time;
  size_t memory;
  int determinism;
  int math;
  int reserved[3];
};

constexpr int kMostAlgorithms = 32;  // several of its eight have entries for more than one kind of units

/// The functions of one pass. Its arrays in their order, the last is the result: x, w, y; w, gy, gx; x, gy, gw.
struct Pass {
  Status (*find)(Handle, Descriptor a, Descriptor b, Descriptor convolution, Descriptor result, int room, int* count,
                 Found* found) = nullptr;
  Status (*workspace)(Handle, Descriptor a, Descriptor b, Descriptor convolution, Descriptor result, int algorithm,
                      size_t* bytes) = nullptr;
  Status (*run)(Handle, const void* alpha, Descriptor a, const void* a_values, Descriptor b, const void* b_values,
                Descriptor convolution, int algorithm, void* workspace, size_t bytes, const void* beta,
                Descriptor result, void* values) = nullptr;
};

struct Library {
  size_t (*version)() = nullptr;
  const char* (*error_text)(Status) = nullptr;
  Status (*create)(Handle*) = nullptr;
  Status (*set_stream)(Handle, cudaStream_t) = nullptr;
  Status (*create_tensor)(Descriptor*) = nullptr;
  Status (*destroy_tensor)(Descriptor) = nullptr;
  Status (*set_tensor)(Descriptor, int format, int type, int n, int c, int h, int w) = nullptr;
  Status (*create_filter)(Descriptor*) = nullptr;
  Status (*destroy_filter)(Descriptor) = nullptr;
  Status (*set_filter)(Descriptor, int type, int format, int k, int c, int h, int w) = nullptr;
  Status (*create_convolution)(Descriptor*) = nullptr;
  Status (*destroy_convolution)(Descriptor) = nullptr;
  Status (*set_convolution)(Descriptor, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h,
                            int dilation_w, int mode, int type) = nullptr;
  Status (*set_groups)(Descriptor, int groups) = nullptr;
  Status (*set_math)(Descriptor, int math) = nullptr;
  Pass passes[3];  // in the order of ConvPass
};

/// Null if there is no cuDNN 9, or only a part of one.
const Library* library();
/// The handle of the calling thread's device. Making one, the first time, waits for the device.
Handle handle();
bool has_handle();
/// Whether a status says that an algorithm, or all of them, cannot do what was asked.
constexpr bool is_unsupported(Status status) { return status / 1000 == 3; }
/// Raises CudaError if a call failed; `call` says which.
void check(Status status, const char* call);

}  // namespace cnnx::cuda::cudnn

namespace cnnx::cuda {
int cudnn_version();
/// Makes, if there is cuDNN, the handle of the calling thread's device, for which a capture may not wait.
void prepare_cudnn();
}  // namespace cnnx::cuda
