// Convolution as a matrix product whose patches are read straight from the images, on CUDA; takes every geometry. The
// passes are in implicit_gemm_cuda.h; here are their products in float32 and float64, and the table for all precisions.
#include "ops/conv2d/implicit_gemm_cuda.h"

#include "ops/conv2d/bias_cuda.h"
#include "ops/conv2d/tensor_core_cuda.h"

namespace cnnx::cuda {
namespace {

bool accepts(const Conv2dGeometry&, ConvPass) { return true; }
/// A tile has at least 32 rows, however few filters a group has.
double cost(const Conv2dGeometry& g, ConvPass) {
  return g.multiply_adds() * static_cast<double>(round_up(g.group_out(), 32)) / static_cast<double>(g.group_out());
}

/// The parts of a pass with m rows, n columns and `depth` products a sum, for each group.
template <class T, class Large = LargeTile<T>>
int parts_of(const Conv2dGeometry& g, int64_t m, int64_t n, int64_t depth) {
  int parts = 1;
  with_tile<T, Large>(m, n, g.groups, [&](auto tile) { parts = count_parts<decltype(tile)>(m, n, depth, g.groups); });
  return parts;
}

/// Calls fn(tile, width) for the forward pass, where weights may be read in fours or not. The largest tile has no
/// registers left for reading them one by one.
template <class T, class F>
void with_forward_tile(const Conv2dGeometry& g, bool fours, F&& fn) {
  const int64_t m = g.group_out(), n = g.batch * g.output_plane();
  if constexpr (sizeof(T) == sizeof(float)) {
    if (fours) {
      return with_tile<T>(m, n, g.groups, [&](auto tile) { fn(tile, std::integral_constant<int, 4>()); });
    }
  }
  with_tile<T, TallTile<T>>(m, n, g.groups, [&](auto tile) { fn(tile, std::integral_constant<int, 1>()); });
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

template <class T_>
struct PlainProducts {
  using T = T_;

  static int forward_parts(const Conv2dGeometry& g) {
    int parts = 1;
    with_forward_tile<T>(g, g.filter_size() % 4 == 0, [&](auto tile, auto) {
      parts = count_parts<decltype(tile)>(g.group_out(), g.batch * g.output_plane(), g.filter_size(), g.groups);
    });
    return parts;
  }
  static int input_parts(const Conv2dGeometry& g) {
    const InputShape shape(g);
    return parts_of<T>(g, g.group_in(), shape.positions, g.group_out() * shape.taps);
  }
  static int weight_parts(const Conv2dGeometry& g) {
    return parts_of<T, TallTile<T>>(g, g.group_out(), g.filter_size(), g.batch * g.output_plane());
  }

  static void forward(const Conv2dGeometry& g, int64_t batch, int parts, const T* x, const T* w,
                      const ImageStore<T>& store) {
    const GemmShape shape{static_cast<int>(g.group_out()), static_cast<int>(batch * g.output_plane()),
                          static_cast<int>(g.filter_size()), parts};
    const PositionLoader<T> patches{input_patches(g, x, batch)};
    const int64_t item = g.group_out() * g.filter_size();
    with_forward_tile<T>(g, fits_fours(w, item, g.filter_size()), [&](auto tile, auto width) {
      const MatrixLoader<T, true, decltype(width)::value> weights{w, item, g.filter_size(), shape.m, shape.depth};
      launch_gemm<decltype(tile)>(shape, g.groups, weights, patches, store);
    });
  }

  static void input(const Conv2dGeometry& g, const AxisClass& h, const AxisClass& w, int64_t batch, int parts,
                    const T* gy, const T* weight, const ImageStore<T>& store) {
    const int64_t taps = int64_t{h.axis.taps} * w.axis.taps, positions = int64_t{h.axis.positions} * w.axis.positions;
    if (positions == 0) return;
    const GemmShape shape{static_cast<int>(g.group_in()), static_cast<int>(batch * positions),
                          static_cast<int>(g.group_out() * taps), parts};
    const Scratch matrix(g.out_channels * taps * g.group_in() * static_cast<int64_t>(sizeof(T)));
    if (taps > 0) gather_filters(g, h, w, weight, matrix.as<T>());
    const PositionLoader<T> patches{output_patches(g, h, w, gy, batch)};
    const int64_t item = int64_t{shape.depth} * shape.m;
    with_tile<T>(g.group_in(), g.batch * positions, g.groups, [&](auto tile) {
      const auto run = [&](auto width) {
        const MatrixLoader<T, false, decltype(width)::value> filters{matrix.as<T>(), item, shape.m, shape.m,
                                                                     shape.depth};
        launch_gemm<decltype(tile)>(shape, g.groups, filters, patches, store);
      };
      if constexpr (sizeof(T) == sizeof(float)) {
        if (fits_fours(matrix.as<T>(), item, shape.m)) return run(std::integral_constant<int, 4>());
      }
      run(std::integral_constant<int, 1>());
    });
  }

  static void weight(const Conv2dGeometry& g, int parts, const T* x, const T* gy, const MatrixStore<T>& store) {
    const int64_t plane = g.output_plane();
    const GemmShape shape{static_cast<int>(g.group_out()), static_cast<int>(g.filter_size()),
                          static_cast<int>(g.batch * plane), parts};
    const ChannelLoader<T> channels{
        gy, g.out_channels * plane, g.group_out() * plane, shape.m, shape.depth, Divisor(std::max<int64_t>(1, plane))};
    with_tile<T, TallTile<T>>(shape.m, shape.n, g.groups, [&](auto tile) {
      launch_gemm<decltype(tile)>(shape, g.groups, channels, TapLoader<T>{input_patches(g, x, g.batch)}, store);
    });
  }
};

template <class T>
constexpr ImplicitGemmConv2d<T> kPlain{{"implicit_gemm", accepts, cost, workspace_bytes<PlainProducts<T>>, nullptr,
                                        nullptr, forward<PlainProducts<T>>, backward_input<PlainProducts<T>>,
                                        backward_weight<PlainProducts<T>>, conv2d_bias_gradient<T>}};

/// The kernels of float32 in the precision that a geometry asks for.
const Conv2dKernels<float>& of(const Conv2dGeometry& g) {
  return g.precision == Precision::kFull ? kPlain<float> : tensor_core_conv2d(g.precision);
}
constexpr ImplicitGemmConv2d<float> kByPrecision{
    {"implicit_gemm", accepts, [](const Conv2dGeometry& g, ConvPass pass) { return of(g).cost(g, pass); },
     [](const Conv2dGeometry& g, ConvPass pass) { return of(g).workspace_bytes(g, pass); }, nullptr, nullptr,
     [](const Conv2dGeometry& g, const float* x, const float* w, const ConvEpilogue<float>& epilogue, float* y,
        void* workspace) { of(g).forward(g, x, w, epilogue, y, workspace); },
     [](const Conv2dGeometry& g, const float* gy, const float* w, float* gx, void* workspace) {
       of(g).backward_input(g, gy, w, gx, workspace);
     },
     [](const Conv2dGeometry& g, const float* x, const float* gy, float* gw, void* workspace) {
       of(g).backward_weight(g, x, gy, gw, workspace);
     },
     conv2d_bias_gradient<float>}};

}  // namespace

template <>
const ImplicitGemmConv2d<float>& table() {
  return kByPrecision;
}
template <>
const ImplicitGemmConv2d<double>& table() {
  return kPlain<double>;
}

}  // namespace cnnx::cuda
