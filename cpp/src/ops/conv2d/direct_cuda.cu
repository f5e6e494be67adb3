// Convolution of groups with one input channel each (depthwise, or images of one channel), directly, on CUDA.
//
// There is no sum over channels to share, so a product's tiles would be nearly empty. Forward, a thread makes one
// output; through the input, one input; through the weight, a block adds up one tap over a piece of all positions.
#include "cuda/patches.h"
#include "cuda/precision.h"
#include "cuda/reduce.h"
#include "ops/conv2d/bias_cuda.h"
#include "ops/conv2d/conv2d.h"

namespace cnnx::cuda {
namespace {

/// Whether places on the axis, those in the padding too, and a step beyond fit 32 bits.
bool is_small_axis(const WindowAxis& a) {
  return is_small(a.extent()) && is_small(a.input + a.pad_before + a.pad_after + (int64_t{1} << 30));
}

bool accepts(const Conv2dGeometry& g, ConvPass) {
  return g.group_in() == 1 && is_small(g.batch * g.in_channels * g.input_plane()) &&
         is_small(g.batch * g.out_channels * g.output_plane()) && is_small(g.out_channels * g.filter_size()) &&
         is_small_axis(g.h) && is_small_axis(g.w);
}

/// A multiplication here reads two numbers; in a tile, both are used many times.
double cost(const Conv2dGeometry& g, ConvPass) { return 4 * g.multiply_adds(); }

/// The geometry in 32 bits.
struct Small {
  explicit Small(const Conv2dGeometry& g)
      : h(axis(g.h)),
        w(axis(g.w)),
        input(static_cast<int>(g.input_plane())),
        output(static_cast<int>(g.output_plane())),
        filters(static_cast<int>(g.group_out())),
        out_columns(std::max<int64_t>(1, g.w.output)),
        out_plane(std::max<int64_t>(1, g.output_plane())),
        in_columns(std::max<int64_t>(1, g.w.input)),
        in_plane(std::max<int64_t>(1, g.input_plane())),
        per_channel(g.group_out()),
        out_channels(g.out_channels),
        in_channels(g.in_channels) {}

  struct Axis {
    int input, output, kernel, stride, dilation, pad;
  };
  static Axis axis(const WindowAxis& a) {
    return {static_cast<int>(a.input), static_cast<int>(a.output), static_cast<int>(a.kernel),
            small_step(a.stride),      small_step(a.dilation),     static_cast<int>(a.pad_before)};
  }

  Axis h, w;
  int input, output, filters;
  Divisor out_columns, out_plane, in_columns, in_plane, per_channel, out_channels, in_channels;
};

/// A place (plane, row, column) of an array of planes.
struct Place {
  int plane, row, column;
};
__device__ Place place(int64_t i, const Divisor& plane, const Divisor& columns) {
  const auto at = static_cast<uint32_t>(i), p = plane.divide(at), rest = at - p * plane.value,
             row = columns.divide(rest);
  return {static_cast<int>(p), static_cast<int>(row), static_cast<int>(rest - row * columns.value)};
}

template <class Rounding, class T>
void run_forward(const Conv2dGeometry& g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y) {
  const Small s(g);
  for_each(g.batch * g.out_channels * g.output_plane(), [=] __device__(int64_t i) {
    const Place at = place(i, s.out_plane, s.out_columns);
    const int image = static_cast<int>(s.out_channels.divide(static_cast<uint32_t>(at.plane)));
    const int k = at.plane - image * static_cast<int>(s.out_channels.value);
    const int channel = static_cast<int>(s.per_channel.divide(static_cast<uint32_t>(k)));
    const T* from = x + int64_t{image * static_cast<int>(s.in_channels.value) + channel} * s.input;
    const T* filter = w + int64_t{k} * s.h.kernel * s.w.kernel;
    const int top = at.row * s.h.stride - s.h.pad, left = at.column * s.w.stride - s.w.pad;
    T sum = 0;
    for (int r = 0; r < s.h.kernel; ++r) {
      const int row = top + r * s.h.dilation;
      if (row < 0 || row >= s.h.input) continue;
      for (int c = 0; c < s.w.kernel; ++c) {
        const int column = left + c * s.w.dilation;
        if (column < 0 || column >= s.w.input) continue;
        sum += Rounding::factor(from[row * s.w.input + column]) * Rounding::factor(filter[r * s.w.kernel + c]);
      }
    }
    y[i] = finish(epilogue, sum, k, i);
  });
}

template <class T>
void forward(const Conv2dGeometry& g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y, void*) {
  with_rounding<T>(g.precision, [&](auto rounding) { run_forward<decltype(rounding)>(g, x, w, epilogue, y); });
}

template <class Rounding, class T>
void run_backward_input(const Conv2dGeometry& g, const T* gy, const T* w, T* gx) {
  const Small s(g);
  for_each(g.batch * g.in_channels * g.input_plane(), [=] __device__(int64_t i) {
    const Place at = place(i, s.in_plane, s.in_columns);
    const int image = static_cast<int>(s.in_channels.divide(static_cast<uint32_t>(at.plane)));
    const int channel = at.plane - image * static_cast<int>(s.in_channels.value);
    T sum = 0;
    for (int r = 0; r < s.h.kernel; ++r) {
      const int above = at.row + s.h.pad - r * s.h.dilation, row = above / s.h.stride;
      if (above < 0 || row * s.h.stride != above || row >= s.h.output) continue;
      for (int c = 0; c < s.w.kernel; ++c) {
        const int before = at.column + s.w.pad - c * s.w.dilation, column = before / s.w.stride;
        if (before < 0 || column * s.w.stride != before || column >= s.w.output) continue;
        for (int filter = 0; filter < s.filters; ++filter) {
          const int k = channel * s.filters + filter;
          const int64_t plane = int64_t{image} * static_cast<int>(s.out_channels.value) + k;
          sum += Rounding::factor(gy[plane * s.output + row * s.w.output + column]) *
                 Rounding::factor(w[(int64_t{k} * s.h.kernel + r) * s.w.kernel + c]);
        }
      }
    }
    gx[i] = sum;
  });
}

template <class T>
void backward_input(const Conv2dGeometry& g, const T* gy, const T* w, T* gx, void*) {
  with_rounding<T>(g.precision, [&](auto rounding) { run_backward_input<decltype(rounding)>(g, gy, w, gx); });
}

/// Tap blockIdx.x over one piece of all positions: gw[blockIdx.y * taps + tap].
template <class Rounding, class T>
__global__ void __launch_bounds__(kThreads)
    weight_kernel(Small s, int64_t positions, int64_t piece, const T* x, const T* gy, T* gw) {
  const int tap = static_cast<int>(blockIdx.x), taps = s.h.kernel * s.w.kernel, k = tap / taps;
  const int r = tap % taps / s.w.kernel, c = tap % s.w.kernel;
  const int channel = static_cast<int>(s.per_channel.divide(static_cast<uint32_t>(k)));
  const int64_t begin = blockIdx.y * piece, end = std::min(positions, begin + piece);
  T sum = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    const Place at = place(i, s.out_plane, s.out_columns);  // the plane is the image
    const int row = at.row * s.h.stride - s.h.pad + r * s.h.dilation;
    const int column = at.column * s.w.stride - s.w.pad + c * s.w.dilation;
    if (row < 0 || row >= s.h.input || column < 0 || column >= s.w.input) continue;
    const int64_t in = int64_t{at.plane} * static_cast<int>(s.in_channels.value) + channel;
    const int64_t out = int64_t{at.plane} * static_cast<int>(s.out_channels.value) + k;
    sum += Rounding::factor(x[in * s.input + row * s.w.input + column]) *
           Rounding::factor(gy[out * s.output + at.row * s.w.output + at.column]);
  }
  sum = reduce_block(sum, Plus());
  if (threadIdx.x == 0) gw[blockIdx.y * int64_t{gridDim.x} + tap] = sum;
}

/// Positions that one block adds up.
int64_t piece_of(const Conv2dGeometry& g) {
  const int64_t positions = g.batch * g.output_plane(), blocks = g.out_channels * g.filter_size();
  const int64_t wanted = ceil_div(int64_t{8} * multiprocessors(), blocks);
  return ceil_div(positions, std::clamp<int64_t>(std::min(wanted, positions / 2048), 1, 1024));
}
int64_t count_pieces(const Conv2dGeometry& g) {
  const int64_t positions = g.batch * g.output_plane();
  return positions == 0 ? 1 : ceil_div(positions, piece_of(g));
}

template <class T>
int64_t workspace_bytes(const Conv2dGeometry& g, ConvPass pass) {
  if (pass != ConvPass::kBackwardWeight || count_pieces(g) == 1) return 0;
  return count_pieces(g) * g.out_channels * g.filter_size() * static_cast<int64_t>(sizeof(T));
}

template <class T>
void backward_weight(const Conv2dGeometry& g, const T* x, const T* gy, T* gw, void* workspace) {
  const int64_t pieces = count_pieces(g), taps = g.out_channels * g.filter_size();
  T* const to = pieces > 1 ? static_cast<T*>(workspace) : gw;
  const dim3 grid(static_cast<unsigned>(taps), static_cast<unsigned>(pieces));
  with_rounding<T>(g.precision, [&](auto rounding) {
    launch(weight_kernel<decltype(rounding), T>, grid, dim3(kThreads), 0, Small(g), g.batch * g.output_plane(),
           piece_of(g), x, gy, to);
  });
  if (pieces > 1) table<ReduceKernels<T>>().sum({1, pieces, taps}, to, gw);
}

template <class T>
constexpr DirectConv2d<T> kTable{{"direct", accepts, cost, workspace_bytes<T>, nullptr, nullptr, forward<T>,
                                  backward_input<T>, backward_weight<T>, conv2d_bias_gradient<T>}};

}  // namespace

template <>
const DirectConv2d<float>& table() {
  return kTable<float>;
}
template <>
const DirectConv2d<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::cuda
