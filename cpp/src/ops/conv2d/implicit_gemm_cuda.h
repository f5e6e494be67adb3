// The passes of convolution as products over patches, whatever multiplies: what implicit_gemm_cuda.cu (float32 and
// float64) and tensor_core_cuda.cu (factors of fewer bits) share.
//
// Forward: y (K, positions) = w (K, C R S) times patches of x. Gradient of the weights: gw (K, C R S) = gy (K,
// positions) times the same patches. Gradient of x: with stride s, rows of x that lie s apart are reached by the same
// taps, all others by other ones; each such class of rows and columns is a product without a wasted tap, gx (C,
// positions of the class) = w (C, K taps of the class) times patches of gy. Products with too few tiles to fill the GPU
// are cut along their sums; the parts are added up in a fixed order. Products, the struct that multiplies, has
//
//   T                                                     the type of values in memory;
//   forward_parts(g), input_parts(g), weight_parts(g)     in how many parts;
//   forward(g, batch, parts, x, w, store)                 y of some images;
//   input(g, h, w, batch, parts, gy, weight, store)       one class of rows and columns of gx;
//   weight(g, parts, x, gy, store)                        gw.
#pragma once

#include <numeric>

#include "cuda/gemm.h"
#include "cuda/patches.h"
#include "ops/conv2d/conv2d.h"

namespace cnnx::cuda {

/// Offsets and numbers of positions are 32-bit in the kernels: the images of one launch.
inline int64_t images_of_launch(const Conv2dGeometry& g) {
  const int64_t input = g.in_channels * g.input_plane(), output = g.out_channels * g.output_plane();
  const int64_t filters = g.out_channels * g.filter_size();
  const int64_t reach = std::max({g.h.extent(), g.w.extent(), g.h.pad_before, g.w.pad_before});
  if (reach >= (int64_t{1} << 15) || !is_small(std::max({input, output, filters}))) {
    throw CudaError(
        "[cuda] a convolution's image or weight has 2^31 values or more, or its kernel spans 2^15 pixels or more.");
  }
  return ((int64_t{1} << 31) - 1) / std::max<int64_t>(1, std::max(input, output));
}

inline PatchAxis forward_axis(const WindowAxis& axis) {
  return {static_cast<int>(axis.output),      static_cast<int>(axis.kernel),   static_cast<int>(axis.stride),
          static_cast<int>(-axis.pad_before), static_cast<int>(axis.dilation), static_cast<int>(axis.input)};
}

template <class T>
Patches<T> input_patches(const Conv2dGeometry& g, const T* x, int64_t batch) {
  return {x,
          g.in_channels * g.input_plane(),
          g.group_in() * g.input_plane(),
          batch,
          g.group_in(),
          forward_axis(g.h),
          forward_axis(g.w)};
}

/// y[i] = the sum of the parts, finished. With a null y the first part is where the sum goes.
template <class T>
void add_parts(int parts, int64_t count, const T* sums, int64_t plane, int64_t channels, const ConvEpilogue<T>& e,
               T* y) {
  for_each(count, [=] __device__(int64_t i) {
    T total = sums[i];
    for (int part = 1; part < parts; ++part) total += sums[part * count + i];
    y[i] = finish(e, total, i / plane % channels, i);
  });
}

/// Positions of one class of rows or columns of x, and the taps that reach them.
struct AxisClass {
  PatchAxis axis;  // over gy
  int first;       // row of x; the next lies `stride` on
  int first_tap, tap_step;
};
inline AxisClass axis_class(const WindowAxis& a, int64_t first) {
  const int64_t tap_step = a.stride / std::gcd(a.stride, a.dilation);
  int64_t tap = 0;
  while (tap < std::min(a.kernel, tap_step) && (first + a.pad_before - tap * a.dilation) % a.stride != 0) ++tap;
  const bool reached = tap < std::min(a.kernel, tap_step);
  const int64_t taps = reached ? ceil_div(a.kernel - tap, tap_step) : 0;
  const int64_t positions = first < a.input ? ceil_div(a.input - first, a.stride) : 0;
  const int64_t start = reached ? (first + a.pad_before - tap * a.dilation) / a.stride : 0;  // divides
  return {{static_cast<int>(positions), static_cast<int>(taps), 1, static_cast<int>(start),
           static_cast<int>(-a.dilation * tap_step / a.stride), static_cast<int>(a.output)},
          static_cast<int>(first),
          static_cast<int>(tap),
          static_cast<int>(tap_step)};
}

template <class T>
Patches<T> output_patches(const Conv2dGeometry& g, const AxisClass& h, const AxisClass& w, const T* gy, int64_t batch) {
  return {gy,    g.out_channels * g.output_plane(), g.group_out() * g.output_plane(), batch, g.group_out(), h.axis,
          w.axis};
}

/// The largest sum of the gradient of x: that of the class with the most taps, and its number of positions.
struct InputShape {
  explicit InputShape(const Conv2dGeometry& g)
      : taps(ceil_div(g.h.kernel * g.w.kernel, g.h.stride * g.w.stride)),
        positions(ceil_div(g.batch * g.input_plane(), g.h.stride * g.w.stride)) {}
  int64_t taps, positions;
};

/// The runs of steps that different blocks add up, and what their sums take together: no more runs than there is room
/// for.
template <class Products>
struct Parts {
  Parts(const Conv2dGeometry& g, ConvPass pass) {
    int wanted = 1;
    int64_t values = 0;
    switch (pass) {
      case ConvPass::kForward:
        wanted = Products::forward_parts(g);
        values = g.batch * g.out_channels * g.output_plane();
        break;
      case ConvPass::kBackwardInput:
        wanted = Products::input_parts(g);
        values = g.batch * g.in_channels * g.input_plane();
        break;
      case ConvPass::kBackwardWeight:
        wanted = Products::weight_parts(g);
        values = g.out_channels * g.filter_size();
        break;
    }
    const int64_t each = values * static_cast<int64_t>(sizeof(typename Products::T));
    count = static_cast<int>(std::clamp<int64_t>(g.workspace_limit / std::max<int64_t>(1, each), 1, wanted));
    bytes = count > 1 ? count * each : 0;
  }
  int count;
  int64_t bytes;
};

template <class Products>
int64_t workspace_bytes(const Conv2dGeometry& g, ConvPass pass) {
  return Parts<Products>(g, pass).bytes;
}

/// Where y of some images goes, the first part of the first image from `y` on.
template <class T>
ImageStore<T> output_store(const Conv2dGeometry& g, const ConvEpilogue<T>& epilogue, T* y) {
  const int64_t plane = g.output_plane(), image = g.out_channels * plane;
  return {y,
          image,
          g.batch * image,
          static_cast<int>(g.group_out()),
          0,
          1,
          0,
          1,
          static_cast<int>(g.w.output),
          static_cast<int>(plane),
          Divisor(std::max<int64_t>(1, g.w.output)),
          Divisor(std::max<int64_t>(1, plane)),
          epilogue,
          plane % 4 == 0 && reinterpret_cast<uintptr_t>(y) % 16 == 0};
}
/// The same for one class of rows and columns of gx.
template <class T>
ImageStore<T> input_store(const Conv2dGeometry& g, const AxisClass& h, const AxisClass& w, T* gx) {
  const int64_t plane = g.input_plane(), image = g.in_channels * plane;
  const bool whole = g.h.stride == 1 && g.w.stride == 1;
  return {gx,
          image,
          g.batch * image,
          static_cast<int>(g.group_in()),
          h.first,
          static_cast<int>(g.h.stride),
          w.first,
          static_cast<int>(g.w.stride),
          static_cast<int>(g.w.input),
          static_cast<int>(plane),
          Divisor(std::max(1, w.axis.positions)),
          Divisor(std::max(1, h.axis.positions * w.axis.positions)),
          {},
          whole && plane % 4 == 0 && reinterpret_cast<uintptr_t>(gx) % 16 == 0};
}

template <class Products, class T = typename Products::T>
void forward(const Conv2dGeometry& g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y, void* workspace) {
  const int64_t some = images_of_launch(g), plane = g.output_plane(), image = g.out_channels * plane;
  const int parts = Parts<Products>(g, ConvPass::kForward).count;
  T* const to = parts > 1 ? static_cast<T*>(workspace) : y;
  for (int64_t n = 0; n < g.batch; n += some) {
    const ConvEpilogue<T> now = parts > 1 ? ConvEpilogue<T>() : epilogue.at(0, n * image);
    Products::forward(g, std::min(some, g.batch - n), parts, x + n * g.in_channels * g.input_plane(), w,
                      output_store(g, now, to + n * image));
  }
  if (parts > 1) add_parts(parts, g.batch * image, to, plane, g.out_channels, epilogue, y);
}

template <class Products, class T = typename Products::T>
void backward_input(const Conv2dGeometry& g, const T* gy, const T* weight, T* gx, void* workspace) {
  const int64_t some = images_of_launch(g), image = g.in_channels * g.input_plane();
  const int parts = Parts<Products>(g, ConvPass::kBackwardInput).count;
  T* const to = parts > 1 ? static_cast<T*>(workspace) : gx;
  for (int64_t n = 0; n < g.batch; n += some) {
    for (int64_t row = 0; row < g.h.stride && row < g.h.input; ++row) {
      for (int64_t column = 0; column < g.w.stride && column < g.w.input; ++column) {
        const AxisClass h = axis_class(g.h, row), w = axis_class(g.w, column);
        Products::input(g, h, w, std::min(some, g.batch - n), parts, gy + n * g.out_channels * g.output_plane(), weight,
                        input_store(g, h, w, to + n * image));
      }
    }
  }
  if (parts > 1) add_parts<T>(parts, g.batch * image, to, 1, 1, {}, gx);
}

template <class Products, class T = typename Products::T>
void backward_weight(const Conv2dGeometry& g, const T* x, const T* gy, T* gw, void* workspace) {
  const int64_t item = g.group_out() * g.filter_size(), count = g.groups * item;
  if (g.batch > images_of_launch(g)) {
    throw CudaError("[cuda] the batch of a convolution is too large for its weight's gradient.");
  }
  const int parts = Parts<Products>(g, ConvPass::kBackwardWeight).count;
  T* const to = parts > 1 ? static_cast<T*>(workspace) : gw;
  Products::weight(g, parts, x, gy,
                   MatrixStore<T>{to, item, count, g.filter_size(), nullptr, fits_fours(to, item, g.filter_size())});
  if (parts > 1) add_parts<T>(parts, count, to, 1, 1, {}, gw);
}

}  // namespace cnnx::cuda
