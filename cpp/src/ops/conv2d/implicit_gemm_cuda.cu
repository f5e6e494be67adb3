// Convolution as a matrix product whose patches are read straight from the images, on CUDA; takes every geometry.
//
// Forward: y (K, positions) = w (K, C R S) times patches of x. Gradient of the weights: gw (K, C R S) = gy (K,
// positions) times the same patches. Gradient of x: with stride s, rows of x that lie s apart are reached by the same
// taps, all others by other ones; each such class of rows and columns is a product without a wasted tap, gx (C,
// positions of the class) = w (C, K taps of the class) times patches of gy. Products with too few tiles to fill the GPU
// are cut along their sums; the parts are added up in a fixed order.
#include <numeric>

#include "cuda/gemm.h"
#include "cuda/patches.h"
#include "ops/conv2d/bias_cuda.h"
#include "ops/conv2d/conv2d.h"

namespace cnnx::cuda {
namespace {

bool accepts(const Conv2dGeometry&, ConvPass) { return true; }
/// A tile has at least 32 rows, however few filters a group has.
double cost(const Conv2dGeometry& g, ConvPass) {
  return g.multiply_adds() * static_cast<double>(round_up(g.group_out(), 32)) / static_cast<double>(g.group_out());
}

/// Offsets and numbers of positions are 32-bit in the kernels: the images of one launch.
int64_t images_of_launch(const Conv2dGeometry& g) {
  const int64_t input = g.in_channels * g.input_plane(), output = g.out_channels * g.output_plane();
  const int64_t filters = g.out_channels * g.filter_size();
  const int64_t reach = std::max({g.h.extent(), g.w.extent(), g.h.pad_before, g.w.pad_before});
  if (reach >= (int64_t{1} << 15) || !is_small(std::max({input, output, filters}))) {
    throw CudaError(
        "[cuda] a convolution's image or weight has 2^31 values or more, or its kernel spans 2^15 pixels or more.");
  }
  return ((int64_t{1} << 31) - 1) / std::max<int64_t>(1, std::max(input, output));
}

PatchAxis forward_axis(const WindowAxis& axis) {
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

/// The parts of a pass with m rows, n columns and `depth` products a sum, for each group.
template <class T, class Large = LargeTile<T>>
int parts_of(const Conv2dGeometry& g, int64_t m, int64_t n, int64_t depth) {
  int parts = 1;
  with_tile<T, Large>(m, n, g.groups, [&](auto tile) { parts = count_parts<decltype(tile)>(m, n, depth, g.groups); });
  return parts;
}

/// Calls fn(tile, width) for the forward pass: weights are read in fours where a filter has a multiple of four. The
/// largest tile has no registers left for reading them one by one.
template <class T, class F>
void with_forward_tile(const Conv2dGeometry& g, F&& fn) {
  const int64_t m = g.group_out(), n = g.batch * g.output_plane();
  if constexpr (sizeof(T) == sizeof(float)) {
    if (g.filter_size() % 4 == 0) {
      return with_tile<T>(m, n, g.groups, [&](auto tile) { fn(tile, std::integral_constant<int, 4>()); });
    }
  }
  with_tile<T, TallTile<T>>(m, n, g.groups, [&](auto tile) { fn(tile, std::integral_constant<int, 1>()); });
}

template <class T>
int forward_parts(const Conv2dGeometry& g) {
  int parts = 1;
  with_forward_tile<T>(g, [&](auto tile, auto) {
    parts = count_parts<decltype(tile)>(g.group_out(), g.batch * g.output_plane(), g.filter_size(), g.groups);
  });
  return parts;
}

/// Positions of one class of rows or columns of x, and the taps that reach them.
struct AxisClass {
  PatchAxis axis;  // over gy
  int first;       // row of x; the next lies `stride` on
  int first_tap, tap_step;
};
AxisClass axis_class(const WindowAxis& a, int64_t first) {
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

/// The parts of the gradient of x: those of the class with the most taps, for all.
template <class T>
int input_parts(const Conv2dGeometry& g) {
  const int64_t classes = g.h.stride * g.w.stride, positions = ceil_div(g.batch * g.input_plane(), classes);
  return parts_of<T>(g, g.group_in(), positions, ceil_div(g.group_out() * g.h.kernel * g.w.kernel, classes));
}

template <class T>
int64_t workspace_bytes(const Conv2dGeometry& g, ConvPass pass) {
  const int64_t positions = g.batch * g.output_plane();
  int64_t parts = 1, values = 0;
  switch (pass) {
    case ConvPass::kForward:
      parts = forward_parts<T>(g);
      values = g.batch * g.out_channels * g.output_plane();
      break;
    case ConvPass::kBackwardInput:
      parts = input_parts<T>(g);
      values = g.batch * g.in_channels * g.input_plane();
      break;
    case ConvPass::kBackwardWeight:
      parts = parts_of<T, TallTile<T>>(g, g.group_out(), g.filter_size(), positions);
      values = g.out_channels * g.filter_size();
      break;
  }
  return parts > 1 ? parts * values * static_cast<int64_t>(sizeof(T)) : 0;
}

/// The product for some images; `y` is where the first part of the first image goes.
template <class T>
void forward_images(const Conv2dGeometry& g, int64_t batch, int parts, const T* x, const T* w,
                    const ConvEpilogue<T>& epilogue, T* y) {
  const int64_t plane = g.output_plane(), image = g.out_channels * plane;
  const GemmShape shape{static_cast<int>(g.group_out()), static_cast<int>(batch * plane),
                        static_cast<int>(g.filter_size()), parts};
  const bool has_quads = plane % 4 == 0 && reinterpret_cast<uintptr_t>(y) % 16 == 0;
  const ImageStore<T> store{y,
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
                            has_quads};
  const PositionLoader<T> patches{input_patches(g, x, batch)};
  with_forward_tile<T>(g, [&](auto tile, auto width) {
    const MatrixLoader<T, true, decltype(width)::value> weights{w, g.group_out() * g.filter_size(), g.filter_size(),
                                                                shape.m, shape.depth};
    launch_gemm<decltype(tile)>(shape, g.groups, weights, patches, store);
  });
}

template <class T>
void forward(const Conv2dGeometry& g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y, void* workspace) {
  const int64_t some = images_of_launch(g), plane = g.output_plane(), image = g.out_channels * plane;
  const int parts = forward_parts<T>(g);
  T* const to = parts > 1 ? static_cast<T*>(workspace) : y;
  for (int64_t n = 0; n < g.batch; n += some) {
    const ConvEpilogue<T> now = parts > 1 ? ConvEpilogue<T>() : epilogue.at(0, n * image);
    forward_images(g, std::min(some, g.batch - n), parts, x + n * g.in_channels * g.input_plane(), w, now,
                   to + n * image);
  }
  if (parts > 1) add_parts(parts, g.batch * image, to, plane, g.out_channels, epilogue, y);
}

/// The weights of a class's taps as a matrix (K taps, C) for each group: channels side by side, as the product reads
/// them.
template <class T>
void gather_filters(const Conv2dGeometry& g, const AxisClass& h, const AxisClass& w, const T* weight, T* matrix) {
  const WideDivisor channels(g.group_in()), columns(w.axis.taps), taps(int64_t{h.axis.taps} * w.axis.taps);
  const int64_t kernel_w = g.w.kernel, plane = g.h.kernel * kernel_w, filter = g.filter_size();
  const int64_t first_h = h.first_tap, step_h = h.tap_step, first_w = w.first_tap, step_w = w.tap_step;
  for_each(g.out_channels * taps.value * g.group_in(), [=] __device__(int64_t i) {
    const int64_t row = channels.divide(i), c = i - row * channels.value;
    const int64_t k = taps.divide(row), tap = row - k * taps.value, r = columns.divide(tap),
                  s = tap - r * columns.value;
    matrix[i] = weight[k * filter + c * plane + (first_h + r * step_h) * kernel_w + first_w + s * step_w];
  });
}

/// One class of rows and columns of gx.
template <class T>
void input_class(const Conv2dGeometry& g, const AxisClass& h, const AxisClass& w, int64_t batch, int parts, const T* gy,
                 const T* weight, T* gx) {
  const int64_t taps = int64_t{h.axis.taps} * w.axis.taps, plane = g.input_plane(), image = g.in_channels * plane;
  const int64_t positions = int64_t{h.axis.positions} * w.axis.positions;
  if (positions == 0) return;
  const GemmShape shape{static_cast<int>(g.group_in()), static_cast<int>(batch * positions),
                        static_cast<int>(g.group_out() * taps), parts};
  const Scratch matrix(g.out_channels * taps * g.group_in() * static_cast<int64_t>(sizeof(T)));
  if (taps > 0) gather_filters(g, h, w, weight, matrix.as<T>());
  const PositionLoader<T> patches{Patches<T>(gy, g.out_channels * g.output_plane(), g.group_out() * g.output_plane(),
                                             batch, g.group_out(), h.axis, w.axis)};
  const bool whole = g.h.stride == 1 && g.w.stride == 1;
  const ImageStore<T> store{gx,
                            image,
                            g.batch * image,
                            shape.m,
                            h.first,
                            static_cast<int>(g.h.stride),
                            w.first,
                            static_cast<int>(g.w.stride),
                            static_cast<int>(g.w.input),
                            static_cast<int>(plane),
                            patches.patches.columns,
                            patches.patches.plane,
                            {},
                            whole && plane % 4 == 0 && reinterpret_cast<uintptr_t>(gx) % 16 == 0};
  const int64_t item = int64_t{shape.depth} * shape.m;
  with_tile<T>(g.group_in(), g.batch * positions, g.groups, [&](auto tile) {
    const auto run = [&](auto width) {
      const MatrixLoader<T, false, decltype(width)::value> filters{matrix.as<T>(), item, shape.m, shape.m, shape.depth};
      launch_gemm<decltype(tile)>(shape, g.groups, filters, patches, store);
    };
    if constexpr (sizeof(T) == sizeof(float)) {
      if (fits_fours(matrix.as<T>(), item, shape.m)) return run(std::integral_constant<int, 4>());
    }
    run(std::integral_constant<int, 1>());
  });
}

template <class T>
void backward_input(const Conv2dGeometry& g, const T* gy, const T* w, T* gx, void* workspace) {
  const int64_t some = images_of_launch(g), image = g.in_channels * g.input_plane();
  const int parts = input_parts<T>(g);
  T* const to = parts > 1 ? static_cast<T*>(workspace) : gx;
  for (int64_t n = 0; n < g.batch; n += some) {
    for (int64_t row = 0; row < g.h.stride && row < g.h.input; ++row) {
      for (int64_t column = 0; column < g.w.stride && column < g.w.input; ++column) {
        input_class(g, axis_class(g.h, row), axis_class(g.w, column), std::min(some, g.batch - n), parts,
                    gy + n * g.out_channels * g.output_plane(), w, to + n * image);
      }
    }
  }
  if (parts > 1) add_parts<T>(parts, g.batch * image, to, 1, 1, {}, gx);
}

template <class T>
void backward_weight(const Conv2dGeometry& g, const T* x, const T* gy, T* gw, void* workspace) {
  const int64_t some = images_of_launch(g), plane = g.output_plane(), item = g.group_out() * g.filter_size();
  const int64_t count = g.groups * item;
  if (g.batch > some) throw CudaError("[cuda] the batch of a convolution is too large for its weight's gradient.");
  const GemmShape shape{static_cast<int>(g.group_out()), static_cast<int>(g.filter_size()),
                        static_cast<int>(g.batch * plane),
                        parts_of<T, TallTile<T>>(g, g.group_out(), g.filter_size(), g.batch * plane)};
  T* const to = shape.parts > 1 ? static_cast<T*>(workspace) : gw;
  const MatrixStore<T> store{to, item, count, g.filter_size(), nullptr, fits_fours(to, item, g.filter_size())};
  const ChannelLoader<T> channels{
      gy, g.out_channels * plane, g.group_out() * plane, shape.m, shape.depth, Divisor(std::max<int64_t>(1, plane))};
  with_tile<T, TallTile<T>>(shape.m, shape.n, g.groups, [&](auto tile) {
    launch_gemm<decltype(tile)>(shape, g.groups, channels, TapLoader<T>{input_patches(g, x, g.batch)}, store);
  });
  if (shape.parts > 1) add_parts<T>(shape.parts, count, to, 1, 1, {}, gw);
}

template <class T>
constexpr ImplicitGemmConv2d<T> kTable{{"implicit_gemm", accepts, cost, workspace_bytes<T>, nullptr, nullptr,
                                        forward<T>, backward_input<T>, backward_weight<T>, conv2d_bias_gradient<T>}};

}  // namespace

template <>
const ImplicitGemmConv2d<float>& table() {
  return kTable<float>;
}
template <>
const ImplicitGemmConv2d<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::cuda
