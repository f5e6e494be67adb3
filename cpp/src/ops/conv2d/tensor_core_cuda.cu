// Convolution's products on tensor cores, in TF32, bfloat16 or float16. The passes are in implicit_gemm_cuda.h.
//
// Filters are rounded and put in the order of the walk, channels innermost, before; images as they are gathered.
#include "ops/conv2d/tensor_core_cuda.h"

#include "cuda/precision.h"
#include "cuda/tensor_cores.h"
#include "ops/conv2d/bias_cuda.h"
#include "ops/conv2d/implicit_gemm_cuda.h"

namespace cnnx::cuda {
namespace {

bool accepts(const Conv2dGeometry&, ConvPass) { return true; }
/// As in float32, on units that are four times as fast or more.
double cost(const Conv2dGeometry& g, ConvPass) {
  return g.multiply_adds() / 4 * static_cast<double>(round_up(g.group_out(), 32)) / static_cast<double>(g.group_out());
}

/// Filters as rows for pack_rows(): a row is a filter with k = (tap, channel) or, for the gradient of x, a channel with
/// k = (tap, filter); rows of one group after another.
struct FilterValues {
  const float* weight;
  int64_t group_step, row_step, channel_step;
  int channels;  // innermost in k
  WideDivisor rows, padded, taps_w;
  int64_t taps, first, step_h, step_w;  // in the plane of a filter

  __device__ float operator()(int64_t row, int64_t k) const {
    const int64_t group = rows.divide(row), tap = padded.divide(k), channel = k - tap * padded.value;
    if (tap >= taps || channel >= channels) return 0;
    const int64_t r = taps_w.divide(tap), s = tap - r * taps_w.value;
    return weight[group * group_step + (row - group * rows.value) * row_step + channel * channel_step + first +
                  r * step_h + s * step_w];
  }
};

/// Filters in words, given back in the order of the stream.
template <Precision kPrecision>
class PackedFilters {
 public:
  PackedFilters(int64_t groups, const FilterValues& values)
      : row_words_(row_words<kPrecision>(values.taps * values.padded.value)),
        rows_(values.rows.value),
        words_(groups * rows_ * row_words_ * static_cast<int64_t>(sizeof(uint32_t))) {
    pack_rows<kPrecision>(groups * rows_, row_words_, values, words_.template as<uint32_t>());
  }
  PackedRows rows() const {
    return {words_.template as<uint32_t>(), rows_ * row_words_, static_cast<int>(row_words_), static_cast<int>(rows_)};
  }

 private:
  int64_t row_words_, rows_;
  Scratch words_;
};

template <Precision kPrecision>
struct TensorProducts {
  using T = float;
  static constexpr int64_t kChunk = 4 * kPack<kPrecision>;

  static int parts_of(const Conv2dGeometry& g, int64_t m, int64_t n, int64_t depth) {
    return tensor_parts<kPrecision>(m, n, depth, g.groups);
  }
  static int forward_parts(const Conv2dGeometry& g) {
    return parts_of(g, g.group_out(), g.batch * g.output_plane(),
                    g.h.kernel * g.w.kernel * round_up(g.group_in(), kChunk));
  }
  static int input_parts(const Conv2dGeometry& g) {
    const InputShape shape(g);
    return parts_of(g, g.group_in(), shape.positions, shape.taps * round_up(g.group_out(), kChunk));
  }
  static int weight_parts(const Conv2dGeometry& g) {
    return parts_of(g, g.group_out(), g.filter_size(), g.batch * g.output_plane());
  }

  template <class LoaderA, class LoaderB, class Store>
  static void launch(const Conv2dGeometry& g, int64_t m, int64_t n, int64_t depth, int parts, const LoaderA& a,
                     const LoaderB& b, const Store& store) {
    if (!is_small(depth)) throw CudaError("[cuda] a filter of a convolution has too many values for tensor cores.");
    const GemmShape shape{static_cast<int>(m), static_cast<int>(n), static_cast<int>(depth), parts};
    launch_tensor_gemm<kPrecision>(shape, g.groups, a, b, store);
  }

  static void forward(const Conv2dGeometry& g, int64_t batch, int parts, const float* x, const float* w,
                      const ImageStore<float>& store) {
    const ChannelRuns patches(input_patches(g, x, batch), g.group_in(), kChunk);
    const int64_t filter = g.filter_size(), plane = g.h.kernel * g.w.kernel, padded = patches.padded.value;
    const PackedFilters<kPrecision> filters(
        g.groups, {w, g.group_out() * filter, filter, plane, static_cast<int>(g.group_in()), WideDivisor(g.group_out()),
                   WideDivisor(padded), WideDivisor(g.w.kernel), plane, 0, g.w.kernel, 1});
    launch(g, g.group_out(), batch * g.output_plane(), plane * padded, parts, filters.rows(), patches, store);
  }

  static void input(const Conv2dGeometry& g, const AxisClass& h, const AxisClass& w, int64_t batch, int parts,
                    const float* gy, const float* weight, const ImageStore<float>& store) {
    const int64_t positions = int64_t{h.axis.positions} * w.axis.positions, taps = int64_t{h.axis.taps} * w.axis.taps;
    if (positions == 0) return;
    const ChannelRuns patches(output_patches(g, h, w, gy, batch), g.group_out(), kChunk);
    const int64_t filter = g.filter_size(), plane = g.h.kernel * g.w.kernel, padded = patches.padded.value;
    const PackedFilters<kPrecision> filters(
        g.groups, {weight, g.group_out() * filter, plane, filter, static_cast<int>(g.group_out()),
                   WideDivisor(g.group_in()), WideDivisor(padded), WideDivisor(std::max(1, w.axis.taps)), taps,
                   h.first_tap * g.w.kernel + w.first_tap, h.tap_step * g.w.kernel, w.tap_step});
    launch(g, g.group_in(), batch * positions, taps * padded, parts, filters.rows(), patches, store);
  }

  static void weight(const Conv2dGeometry& g, int parts, const float* x, const float* gy,
                     const MatrixStore<float>& store) {
    const int64_t plane = g.output_plane();
    const PixelRuns pixels{gy,
                           g.out_channels * plane,
                           g.group_out() * plane,
                           static_cast<int>(g.group_out()),
                           static_cast<int>(g.batch * plane),
                           Divisor(std::max<int64_t>(1, plane)),
                           plane % 4 == 0 && reinterpret_cast<uintptr_t>(gy) % 16 == 0};
    launch(g, g.group_out(), g.filter_size(), g.batch * plane, parts, pixels,
           PositionRuns{input_patches(g, x, g.batch)}, store);
  }
};

template <Precision kPrecision, class Products = TensorProducts<kPrecision>>
constexpr Conv2dKernels<float> kTable{"implicit_gemm",
                                      accepts,
                                      cost,
                                      workspace_bytes<Products>,
                                      nullptr,
                                      nullptr,
                                      forward<Products>,
                                      backward_input<Products>,
                                      backward_weight<Products>,
                                      conv2d_bias_gradient<float>};

}  // namespace

const Conv2dKernels<float>& tensor_core_conv2d(Precision precision) {
  return with_reduced_precision(
      precision, [](auto constant) -> const Conv2dKernels<float>& { return kTable<decltype(constant)::value>; });
}

}  // namespace cnnx::cuda
