// The part of cuDNN that cnnx calls, by the definition of convolution, in the library that stands in for a GPU.
//
// It refuses what cuDNN would, and what cnnx must not ask for. Its heuristics put first what cnnx may not take. The
// parts of cuDNN are links to the same file. CNNX_CUDNN_HOST_FAIL=create|find|run lets one call fail, "support" says
// that nothing is supported, "start" lets the first run take a while.
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include "cuda/mma.h"
#include "cuda_runtime.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr int kBadParam = 2000, kNotSupported = 3000, kExecutionFailed = 5000, kNoMoreMemory = 4003;

struct Described {
  enum Kind { kTensor, kFilter, kConvolution } kind;
  bool is_set = false;
  int type = -1;
  int n = 0, c = 0, h = 0, w = 0;
  int pad[2] = {}, stride[2] = {}, dilation[2] = {}, groups = 1, math = 0;
};
struct Handle {
  cudaStream_t stream = nullptr;
};
struct Found {
  int algorithm, status;
  float time;
  size_t memory;
  int determinism, math, reserved[3];
};

bool fails(const char* where) {
  const char* text = std::getenv("CNNX_CUDNN_HOST_FAIL");
  return text && std::string(text) == where;
}

std::set<const void*>& live() {
  static std::set<const void*> all;
  return all;
}
/// No more than cnnx may remember.
int create(void** descriptor, Described::Kind kind) {
  if (live().size() > 4500) return kNoMoreMemory;
  *descriptor = new Described{kind};
  live().insert(*descriptor);
  return 0;
}
int destroy(void* descriptor) {
  if (!live().erase(descriptor)) return kBadParam;
  delete static_cast<Described*>(descriptor);
  return 0;
}
Described* find(void* descriptor, Described::Kind kind) {
  auto* const found = static_cast<Described*>(descriptor);
  return live().count(descriptor) && found->kind == kind ? found : nullptr;
}

/// A convolution as its four descriptors have it.
struct Convolution {
  Described x, w, y, how;

  bool fits() const {
    const auto out = [&](int in, int kernel, int axis) {
      const int room = in + 2 * how.pad[axis] - (kernel - 1) * how.dilation[axis] - 1;
      return room < 0 ? 0 : room / how.stride[axis] + 1;
    };
    return x.is_set && w.is_set && y.is_set && how.is_set && x.type == w.type && x.type == y.type &&
           x.type == how.type && x.n == y.n && w.n == y.c && x.c == w.c * how.groups && y.c % how.groups == 0 &&
           y.h == out(x.h, w.h, 0) && y.w == out(x.w, w.w, 1);
  }
  /// Not a multiple of anything; it depends on what else is allowed beside the shape.
  size_t workspace(int algorithm) const {
    return static_cast<size_t>(algorithm) * static_cast<size_t>(4 * y.h + 8 * how.math + 40) + 3;
  }

  /// f(place in x, in w, in y) for each product.
  template <class F>
  void each(F f) const {
    const int group_in = w.c, group_out = y.c / how.groups;
    for (int n = 0; n < y.n; ++n)
      for (int k = 0; k < y.c; ++k)
        for (int i = 0; i < y.h; ++i)
          for (int j = 0; j < y.w; ++j)
            for (int c = 0; c < group_in; ++c)
              for (int r = 0; r < w.h; ++r)
                for (int s = 0; s < w.w; ++s) {
                  const int row = i * how.stride[0] - how.pad[0] + r * how.dilation[0];
                  const int column = j * how.stride[1] - how.pad[1] + s * how.dilation[1];
                  if (row < 0 || row >= x.h || column < 0 || column >= x.w) continue;
                  const int channel = k / group_out * group_in + c;
                  f(((int64_t{n} * x.c + channel) * x.h + row) * x.w + column,
                    ((int64_t{k} * w.c + c) * w.h + r) * w.w + s, ((int64_t{n} * y.c + k) * y.h + i) * y.w + j);
                }
  }
};

enum Pass { kForward, kData, kFilter };
constexpr int kAlgorithms[] = {8, 6, 7};
constexpr bool kIsAllowed[3][8] = {{true, true, true, true}, {false, true}, {false, true}};

/// From the descriptors in the order of a pass; false if they are not what they should be.
bool read(Pass pass, void* a, void* b, void* how, void* result, Convolution& c) {
  void* const x = pass == kData ? result : a;
  void* const w = pass == kForward ? b : pass == kData ? a : result;
  void* const y = pass == kForward ? result : b;
  const Described *found_x = find(x, Described::kTensor), *found_w = find(w, Described::kFilter),
                  *found_y = find(y, Described::kTensor), *found_how = find(how, Described::kConvolution);
  if (!found_x || !found_w || !found_y || !found_how) return false;
  c = {*found_x, *found_w, *found_y, *found_how};
  return c.fits();
}

/// What may not be taken comes first: a failed one, atomics, 16 bits, tensor cores, Fourier's and Winograd's, one that
/// turns out to be unsupported. Of the next two, one suits TF32 and float64, the other all. Forward there are slower
/// ones too: one of more, and one of the least workspace.
int find_algorithms(Pass pass, void* handle, void* a, void* b, void* how, void* result, int room, int* count,
                    Found* found) {
  Convolution c;
  if (!handle || !read(pass, a, b, how, result, c) || room < 1) return kBadParam;
  if (fails("find")) return kExecutionFailed;
  if (fails("support")) return kNotSupported + 1;
  const int fourier = pass == kForward ? 4 : 2, winograd = kAlgorithms[pass] - 2;
  const Found all[] = {{1, kNotSupported, -1, 0, 1, 0, {}},
                       {pass == kForward ? 1 : 0, 0, 1, 0, 0, 0, {}},
                       {1, 0, 2, 0, 1, 2, {}},
                       {fourier, 0, 3, 0, 1, 0, {}},
                       {winograd, 0, 4, 0, 1, 3, {}},
                       {pass == kForward ? 3 : 1, 0, 5, 0, 1, 1, {}},
                       {1, 0, 6, 0, 1, 0, {}},
                       {2, 0, 7, 0, 1, 0, {}},
                       {0, 0, 8, 0, 1, 0, {}}};
  const int there = pass == kForward ? 9 : 7;
  *count = std::min(room, there);
  std::copy_n(all, *count, found);
  return 0;
}

int workspace_size(Pass pass, void* handle, void* a, void* b, void* how, void* result, int algorithm, size_t* bytes) {
  Convolution c;
  if (!handle || !read(pass, a, b, how, result, c)) return kBadParam;
  if (algorithm == 3) return kNotSupported + 2;
  *bytes = c.workspace(algorithm);
  return 0;
}

template <class T>
void compute(const Convolution& c, Pass pass, const T* a, const T* b, T* result) {
  const auto factor = [&](T value) {
    if constexpr (std::is_same_v<T, float>) {
      if (c.how.math != 3) return cuda_host::round_tf32(value);
    }
    return value;
  };
  const Described& to = pass == kForward ? c.y : pass == kData ? c.x : c.w;
  std::fill_n(result, int64_t{to.n} * to.c * to.h * to.w, T(0));
  c.each([&](int64_t x, int64_t w, int64_t y) {
    if (pass == kForward) result[y] += factor(a[x]) * factor(b[w]);
    if (pass == kData) result[x] += factor(a[w]) * factor(b[y]);
    if (pass == kFilter) result[w] += factor(a[x]) * factor(b[y]);
  });
}

int run(Pass pass, void* handle, const void* alpha, void* a, const void* a_values, void* b, const void* b_values,
        void* how, int algorithm, void* workspace, size_t bytes, const void* beta, void* result, void* values) {
  Convolution c;
  if (!handle || !read(pass, a, b, how, result, c) || !a_values || !b_values || !values) return kBadParam;
  if (algorithm < 0 || algorithm >= kAlgorithms[pass] || !kIsAllowed[pass][algorithm]) return kBadParam;
  const size_t needed = c.workspace(algorithm);
  if (bytes < needed || !workspace) return kBadParam;
  if (fails("run")) return kExecutionFailed;
  static bool has_run = false;
  if (!std::exchange(has_run, true) && fails("start")) std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const auto submit = [&]<class T>(T) {
    if (*static_cast<const T*>(alpha) != 1 || *static_cast<const T*>(beta) != 0) return kBadParam;
    const auto thread = [=] {
      std::fill_n(static_cast<unsigned char*>(workspace), needed, static_cast<unsigned char>(0xff));
      compute(c, pass, static_cast<const T*>(a_values), static_cast<const T*>(b_values), static_cast<T*>(values));
    };
    cuda_host::submit(static_cast<Handle*>(handle)->stream, [=] { cuda_host::run_grid(dim3(1), dim3(1), 0, thread); });
    return 0;
  };
  return c.x.type == 0 ? submit(0.0f) : c.x.type == 1 ? submit(0.0) : kNotSupported;
}

}  // namespace

EXPORT size_t cudnnGetVersion() { return 91300; }
EXPORT const char* cudnnGetErrorString(int status) {
  return status == kExecutionFailed ? "CUDNN_STATUS_EXECUTION_FAILED" : "CUDNN_STATUS_OTHER";
}
EXPORT int cudnnCreate(void** handle) {
  *handle = new Handle;
  return fails("create") || cuda_host::is_capturing() ? 1001 : 0;
}
EXPORT int cudnnSetStream(void* handle, cudaStream_t stream) {
  static_cast<Handle*>(handle)->stream = stream;
  return 0;
}

EXPORT int cudnnCreateTensorDescriptor(void** descriptor) { return create(descriptor, Described::kTensor); }
EXPORT int cudnnDestroyTensorDescriptor(void* descriptor) { return destroy(descriptor); }
EXPORT int cudnnSetTensor4dDescriptor(void* descriptor, int format, int type, int n, int c, int h, int w) {
  Described* const to = find(descriptor, Described::kTensor);
  if (!to || format != 0 || std::min({n, c, h, w}) < 1) return kBadParam;
  *to = {Described::kTensor, true, type, n, c, h, w};
  return 0;
}
EXPORT int cudnnCreateFilterDescriptor(void** descriptor) { return create(descriptor, Described::kFilter); }
EXPORT int cudnnDestroyFilterDescriptor(void* descriptor) { return destroy(descriptor); }
EXPORT int cudnnSetFilter4dDescriptor(void* descriptor, int type, int format, int k, int c, int h, int w) {
  Described* const to = find(descriptor, Described::kFilter);
  if (!to || format != 0 || std::min({k, c, h, w}) < 1) return kBadParam;
  *to = {Described::kFilter, true, type, k, c, h, w};
  return 0;
}
EXPORT int cudnnCreateConvolutionDescriptor(void** descriptor) { return create(descriptor, Described::kConvolution); }
EXPORT int cudnnDestroyConvolutionDescriptor(void* descriptor) { return destroy(descriptor); }
EXPORT int cudnnSetConvolution2dDescriptor(void* descriptor, int pad_h, int pad_w, int stride_h, int stride_w,
                                           int dilation_h, int dilation_w, int mode, int type) {
  Described* const to = find(descriptor, Described::kConvolution);
  if (!to || mode != 1 || std::min(pad_h, pad_w) < 0) return kBadParam;
  if (std::min({stride_h, stride_w, dilation_h, dilation_w}) < 1) return kBadParam;
  *to = {Described::kConvolution, true, type, 0, 0, 0, 0, {pad_h, pad_w}, {stride_h, stride_w},
         {dilation_h, dilation_w}};
  return 0;
}
EXPORT int cudnnSetConvolutionGroupCount(void* descriptor, int groups) {
  Described* const to = find(descriptor, Described::kConvolution);
  if (!to || groups < 1) return kBadParam;
  to->groups = groups;
  return 0;
}
EXPORT int cudnnSetConvolutionMathType(void* descriptor, int math) {
  Described* const to = find(descriptor, Described::kConvolution);
  if (!to || math < 0 || math > 3) return kBadParam;
  to->math = math;
  return 0;
}

#define PASS(name, pass)                                                                                               \
  EXPORT int cudnnGetConvolution##name##Algorithm_v7(void* handle, void* a, void* b, void* how, void* result,          \
                                                     int room, int* count, Found* found) {                             \
    return find_algorithms(pass, handle, a, b, how, result, room, count, found);                                       \
  }                                                                                                                    \
  EXPORT int cudnnGetConvolution##name##WorkspaceSize(void* handle, void* a, void* b, void* how, void* result,         \
                                                      int algorithm, size_t* bytes) {                                  \
    return workspace_size(pass, handle, a, b, how, result, algorithm, bytes);                                          \
  }                                                                                                                    \
  EXPORT int cudnnConvolution##name(void* handle, const void* alpha, void* a, const void* a_values, void* b,           \
                                    const void* b_values, void* how, int algorithm, void* workspace, size_t bytes,     \
                                    const void* beta, void* result, void* values) {                                    \
    return run(pass, handle, alpha, a, a_values, b, b_values, how, algorithm, workspace, bytes, beta, result, values); \
  }
PASS(Forward, kForward)
PASS(BackwardData, kData)
PASS(BackwardFilter, kFilter)
