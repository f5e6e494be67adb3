// Convolution: geometry, and the table of kernels that each algorithm fills.
#pragma once

#include <span>

#include "cnnx/precision.h"
#include "ops/window.h"
#include "storage.h"

namespace cnnx {

/// N batch, C in channels, K out channels, H W input, R S kernel, OH OW output.
struct Conv2dGeometry {
  int64_t batch = 0;
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  int64_t groups = 1;
  WindowAxis h;
  WindowAxis w;
  int threads = 1;                                  // that a kernel may use: each may have a workspace of its own
  bool is_prepared = false;                         // the weights are what the algorithm's prepare() made of them
  static constexpr int64_t kColumnBytes = 1 << 19;  // half of a 1 MiB second-level cache
  int64_t column_bytes = kColumnBytes;              // of im2col columns at a time; less under a workspace limit, as
                                                    // are the tiles of Winograd on a GPU
  Precision precision = Precision::kFull;           // on CUDA devices
  int64_t workspace_limit = kNoWorkspaceLimit;      // which an algorithm with a choice keeps within

  bool operator==(const Conv2dGeometry&) const = default;
  constexpr int64_t group_in() const { return in_channels / groups; }
  constexpr int64_t group_out() const { return out_channels / groups; }
  constexpr int64_t input_plane() const { return h.input * w.input; }
  constexpr int64_t output_plane() const { return h.output * w.output; }
  /// Whether every output is made of the input at its own place: a 1x1 kernel, stride 1, no padding.
  bool is_pointwise() const {
    const auto is_identity = [](const WindowAxis& a) {
      return a.kernel == 1 && a.stride == 1 && a.pad_before == 0 && a.output == a.input;
    };
    return is_identity(h) && is_identity(w);
  }
  /// Weights of one filter, (C / groups) * R * S.
  constexpr int64_t filter_size() const { return group_in() * h.kernel * w.kernel; }
  /// Multiply-adds of the definition.
  double multiply_adds() const {
    return static_cast<double>(batch * out_channels * output_plane()) * static_cast<double>(filter_size());
  }
};

/// Checks the arguments and works out the output size. Raises std::invalid_argument.
Conv2dGeometry conv2d_geometry(const Shape& x, const Shape& weight, const ConvOptions& options);

enum class ConvPass : unsigned char { kForward, kBackwardInput, kBackwardWeight };

/// What becomes of each sum s of filter k before it is written: scale[k] * s + shift[k] + residual, then perhaps ReLU.
template <class T>
struct ConvEpilogue {
  const T* scale = nullptr;     // (K), ones if null
  const T* shift = nullptr;     // (K), zeros if null
  const T* residual = nullptr;  // of the output's shape
  bool relu = false;

  constexpr bool is_identity() const { return !scale && !shift && !residual && !relu; }
  /// For the filters from k on of an output that starts `offset` values further on.
  constexpr ConvEpilogue at(int64_t k, int64_t offset) const {
    return {scale ? scale + k : nullptr, shift ? shift + k : nullptr, residual ? residual + offset : nullptr, relu};
  }
};

/// One algorithm. x (N, C, H, W), w (K, C / groups, R, S), y (N, K, OH, OW), all contiguous. Outputs are overwritten.
/// The workspace has workspace_bytes(g, pass) bytes, aligned to 64.
template <class T>
struct Conv2dKernels {
  const char* name;
  bool (*accepts)(const Conv2dGeometry& g, ConvPass pass);
  /// Estimated time of an accepted geometry, in multiply-adds at the machine's full speed.
  double (*cost)(const Conv2dGeometry& g, ConvPass pass);
  int64_t (*workspace_bytes)(const Conv2dGeometry& g, ConvPass pass);
  /// The weights in the order that forward() reads fastest: how many values, and making them. Null: w as it is. The
  /// order depends on the weight's shape and the groups alone.
  int64_t (*prepared_values)(const Conv2dGeometry& g);
  void (*prepare)(const Conv2dGeometry& g, const T* w, T* prepared);
  void (*forward)(const Conv2dGeometry& g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y,
                  void* workspace);
  void (*backward_input)(const Conv2dGeometry& g, const T* gy, const T* w, T* gx, void* workspace);
  void (*backward_weight)(const Conv2dGeometry& g, const T* x, const T* gy, T* gw, void* workspace);
  /// gb[k] = sum of gy over batch and plane.
  void (*backward_bias)(const Conv2dGeometry& g, const T* gy, T* gb);
  /// forward() and 2x2 max pooling with stride 2 of what it would write, whose height and width are even: y is
  /// (N, K, OH / 2, OW / 2). `switches` are MaxPool2dKernels', or null; there is no residual. Null: it cannot.
  void (*forward_pooled)(const Conv2dGeometry& g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y,
                         uint8_t* switches, void* workspace) = nullptr;
};

/// Tags that tell the algorithms' tables apart in kernels<K>().
template <class T>
struct Im2colConv2d : Conv2dKernels<T> {};
template <class T>
struct DirectConv2d : Conv2dKernels<T> {};
template <class T>
struct SmallDirectConv2d : Conv2dKernels<T> {};
template <class T>
struct ImplicitGemmConv2d : Conv2dKernels<T> {};
template <class T>
struct PointwiseConv2d : Conv2dKernels<T> {};
template <class T>
struct CudnnConv2d : Conv2dKernels<T> {};  // on CUDA devices alone
template <class T>
struct WinogradConv2d : Conv2dKernels<T> {};
template <class T>
struct SmallWinogradConv2d : Conv2dKernels<T> {};

/// The algorithms of a device; the last accepts every geometry.
template <class T>
std::span<const Conv2dKernels<T>* const> conv2d_algorithms(Device device);
/// The one that accepts the geometry and costs least, or the pinned one if it accepts.
template <class T>
const Conv2dKernels<T>& choose_conv2d(const Conv2dGeometry& g, ConvPass pass, Device device);

/// The passes as tensors, unrecorded, on whichever algorithm takes the geometry; bias may be undefined.
Tensor conv2d_forward(const Conv2dGeometry& g, const Tensor& x, const Tensor& weight, const Tensor& bias);
Tensor conv2d_backward_input(const Conv2dGeometry& g, const Tensor& gy, const Tensor& weight);
Tensor conv2d_backward_weight(const Conv2dGeometry& g, const Tensor& x, const Tensor& gy);
Tensor conv2d_backward_bias(const Conv2dGeometry& g, const Tensor& gy);

}  // namespace cnnx
