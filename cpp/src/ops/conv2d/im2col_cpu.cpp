// Convolution as a matrix product over im2col columns; takes every geometry.
//
// Forward: y (K, positions) = w (K, C R S) times columns. Backward through the input: columns = w^T gy, added back by
// col2im. Backward through the weight: gy times the columns transposed. Columns are made for a block of output
// positions at a time that fits in cache, so the whole im2col matrix never exists. A 1x1 kernel with stride 1 and no
// padding needs no columns: the image is the matrix.
//
// Each pass cuts its work into units by geometry alone, so that results do not depend on the number of threads; each
// thread has columns of its own.
#include <cstring>

#include "blas.h"
#include "kernels.h"
#include "ops/conv2d/bias.h"
#include "ops/conv2d/epilogue.h"
#include "ops/conv2d/im2col.h"
#include "parallel.h"
#include "rounding.h"

namespace cnnx::CNNX_ISA {
namespace {

constexpr int64_t kEnoughUnits = 16;  // a backward pass with fewer images than this is cut further
constexpr int64_t kPartials = 8;      // all partial weight gradients together, in blocks of columns

/// Blocks of output positions, and the values of one block's columns.
template <class T>
struct Blocks {
  explicit Blocks(const Conv2dGeometry& g) {
    const int64_t fit = g.column_bytes / (static_cast<int64_t>(sizeof(T)) * g.filter_size());
    const int64_t least = g.column_bytes < g.kColumnBytes ? 1 : 64;
    positions = std::max<int64_t>(1, std::min(g.output_plane(), std::max<int64_t>(least, fit / 16 * 16)));
    count = ceil_div(g.output_plane(), positions);
    values = g.is_pointwise() ? 0 : (g.filter_size() * positions + 15) / 16 * 16;
  }
  int64_t positions, count, values;
};

/// Backward through the input: a unit is a run of channels of one image and group.
struct ChannelCut {
  explicit ChannelCut(const Conv2dGeometry& g) {
    const int64_t images = std::max<int64_t>(1, g.batch * g.groups);
    const int64_t parts = std::min(g.group_in(), std::max<int64_t>(1, kEnoughUnits / images));
    channels = ceil_div(g.group_in(), parts);
    count = ceil_div(g.group_in(), channels);
  }
  int64_t channels, count;
};

/// Backward through the weight: partial sums, each over a run of pairs of image and block.
template <class T>
int64_t partial_count(const Conv2dGeometry& g) {
  const int64_t bytes = g.out_channels * g.filter_size() * static_cast<int64_t>(sizeof(T));
  const int64_t units = g.batch * Blocks<T>(g).count, most = std::min(kEnoughUnits, kPartials * g.column_bytes / bytes);
  if (most <= 1 || units <= 1) return 1;
  const int64_t run = ceil_div(units, most);
  return ceil_div(units, run);  // none is empty
}

bool accepts(const Conv2dGeometry&, ConvPass) { return true; }

/// Measured: the share of the full speed that BLAS reaches, and how long a value of a column takes, in multiply-adds:
/// more for the gradients, and for those of short rows. And how long the epilogue's pass over the outputs takes.
double cost(const Conv2dGeometry& g, ConvPass pass) {
  const double products = g.multiply_adds(), width = static_cast<double>(std::max<int64_t>(1, g.w.output));
  const double speed = pass == ConvPass::kBackwardWeight ? 0.55 : 0.65;
  const double column = pass == ConvPass::kForward ? 16 : pass == ConvPass::kBackwardWeight ? 20 : 30 + 600 / width;
  const auto depth = static_cast<double>(g.filter_size());
  const double outputs = pass == ConvPass::kForward ? 25 * products / depth : 0;
  return products / speed + (g.is_pointwise() ? 0 : column * products / static_cast<double>(g.group_out())) + outputs;
}

template <class T>
int64_t workspace_bytes(const Conv2dGeometry& g, ConvPass pass) {
  const int64_t partials = pass == ConvPass::kBackwardWeight ? partial_count<T>(g) : 1;
  const int64_t values =
      g.threads * Blocks<T>(g).values + (partials > 1 ? partials * g.out_channels * g.filter_size() : 0);
  return values * static_cast<int64_t>(sizeof(T));
}

template <class T>
void forward(const Conv2dGeometry& g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y, void* workspace) {
  const Blocks<T> blocks(g);
  const int64_t K = g.group_out(), CRS = g.filter_size(), plane = g.output_plane();
  const auto run = [&](int64_t unit, int slot, auto multiply) {
    const int64_t image_group = unit / blocks.count, group = image_group % g.groups;
    const int64_t begin = unit % blocks.count * blocks.positions, n = std::min(plane - begin, blocks.positions);
    const T* image = x + image_group * g.group_in() * g.input_plane();
    const T* matrix = image + begin;
    int64_t ld = plane;
    if (!g.is_pointwise()) {
      T* columns = static_cast<T*>(workspace) + slot * blocks.values;
      const int64_t column_rows = g.h.kernel * g.w.kernel * n;
      parallel_for(g.group_in(), item_grain(column_rows), [&](int64_t first, int64_t last) {
        im2col(g, last - first, image + first * g.input_plane(), begin, begin + n, columns + first * column_rows, n);
      });
      matrix = columns;
      ld = n;
    }
    T* out = y + image_group * K * plane + begin;
    multiply(false, false, K, n, CRS, T(1), w + group * K * CRS, CRS, matrix, ld, T(0), out, plane);
    if (epilogue.is_identity()) return;
    const ConvEpilogue<T> e = epilogue.at(group * K, image_group * K * plane);
    for (int64_t k = 0; k < K; ++k) FilterEpilogue<T>(e, k).write(out + k * plane, n, k * plane + begin, out - begin);
  };
  const int64_t units = g.batch * g.groups * blocks.count;
  if (units == 1) return run(0, 0, parallel_gemm<T>);  // the product itself is cut
  parallel_slots(units, g.threads, [&](int64_t unit, int slot) { run(unit, slot, gemm<T>); });
}

template <class T>
void backward_input(const Conv2dGeometry& g, const T* gy, const T* w, T* gx, void* workspace) {
  const Blocks<T> blocks(g);
  const ChannelCut cut(g);
  const int64_t K = g.group_out(), CRS = g.filter_size(), plane = g.output_plane(), taps = g.h.kernel * g.w.kernel;
  parallel_slots(g.batch * g.groups * cut.count, g.threads, [&](int64_t unit, int slot) {
    const int64_t image_group = unit / cut.count, first = unit % cut.count * cut.channels;
    const int64_t channels = std::min(cut.channels, g.group_in() - first);
    const T* weight = w + image_group % g.groups * K * CRS + first * taps;
    const T* grad = gy + image_group * K * plane;
    T* image = gx + (image_group * g.group_in() + first) * g.input_plane();
    if (g.is_pointwise()) {
      gemm<T>(true, false, channels, plane, K, T(1), weight, CRS, grad, plane, T(0), image, plane);
      return;
    }
    std::fill(image, image + channels * g.input_plane(), T(0));
    T* columns = static_cast<T*>(workspace) + slot * blocks.values;
    for (int64_t begin = 0; begin < plane; begin += blocks.positions) {
      const int64_t n = std::min(plane - begin, blocks.positions);
      gemm<T>(true, false, channels * taps, n, K, T(1), weight, CRS, grad + begin, plane, T(0), columns, n);
      col2im(g, channels, columns, n, begin, begin + n, image);
    }
  });
}

/// gw[group] (=|+=) gy times columns^T for one image and block of positions; `multiply` is gemm or parallel_gemm.
template <class T, class Multiply>
void add_weight_product(const Conv2dGeometry& g, const Blocks<T>& blocks, int64_t unit, bool first, const T* x,
                        const T* gy, T* gw, T* columns, Multiply multiply) {
  const int64_t K = g.group_out(), CRS = g.filter_size(), plane = g.output_plane();
  const int64_t begin = unit % blocks.count * blocks.positions, n = std::min(plane - begin, blocks.positions);
  for (int64_t group = 0; group < g.groups; ++group) {
    const int64_t image_group = unit / blocks.count * g.groups + group;
    const T* image = x + image_group * g.group_in() * g.input_plane();
    const bool pointwise = g.is_pointwise();
    if (!pointwise) im2col(g, g.group_in(), image, begin, begin + n, columns, n);
    multiply(false, true, K, CRS, n, T(1), gy + image_group * K * plane + begin, plane,
             pointwise ? image + begin : columns, pointwise ? plane : n, first ? T(0) : T(1), gw + group * K * CRS,
             CRS);
  }
}

template <class T>
void backward_weight(const Conv2dGeometry& g, const T* x, const T* gy, T* gw, void* workspace) {
  const Blocks<T> blocks(g);
  const int64_t partials = partial_count<T>(g), weight = g.out_channels * g.filter_size(),
                units = g.batch * blocks.count;
  T* const columns = static_cast<T*>(workspace);
  if (units == 0) {
    std::fill(gw, gw + weight, T(0));
  } else if (partials == 1) {  // large weights: the product itself is cut
    for (int64_t unit = 0; unit < units; ++unit) {
      add_weight_product(g, blocks, unit, unit == 0, x, gy, gw, columns, parallel_gemm<T>);
    }
  } else {
    T* const sums = columns + g.threads * blocks.values;
    const int64_t run = ceil_div(units, partials);
    parallel_slots(partials, g.threads, [&](int64_t part, int slot) {
      for (int64_t unit = part * run; unit < std::min(units, (part + 1) * run); ++unit) {
        add_weight_product(g, blocks, unit, unit == part * run, x, gy, sums + part * weight,
                           columns + slot * blocks.values, gemm<T>);
      }
    });
    parallel_for(weight, item_grain(partials), [&](int64_t begin, int64_t end) {
      std::memcpy(gw + begin, sums + begin, static_cast<size_t>(end - begin) * sizeof(T));
      for (int64_t part = 1; part < partials; ++part) {
        const T* from = sums + part * weight;
        for (int64_t i = begin; i < end; ++i) gw[i] += from[i];
      }
    });
  }
}

template <class T>
constexpr Im2colConv2d<T> kTable{{"im2col", accepts, cost, workspace_bytes<T>, nullptr, nullptr, forward<T>,
                                  backward_input<T>, backward_weight<T>, conv2d_bias_gradient<T>}};

}  // namespace

template <>
const Im2colConv2d<float>& table() {
  return kTable<float>;
}
template <>
const Im2colConv2d<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
