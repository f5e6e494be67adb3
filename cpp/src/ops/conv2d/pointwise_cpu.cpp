// Convolution with 1x1 kernels, stride 1 and no padding: products of matrices that are multiplied as they lie. The
// planes of an image are rows, and neighbouring positions lie along the vector, so that neither the weights nor, where
// a panel of positions is within one image, the values are reordered. No gradient of the weight: BLAS is as fast.
#include <algorithm>
#include <cstring>

#include "kernels.h"
#include "ops/conv2d/bias.h"
#include "ops/conv2d/epilogue.h"
#include "ops/conv2d/panels.h"
#include "ops/gemm_tile.h"
#include "parallel.h"
#include "rounding.h"

namespace cnnx::CNNX_ISA {
namespace {

/// y (images, rows, plane) = w (rows, depth) * x (images, depth, plane), of each group.
template <class T>
struct PlaneProduct {
  PlaneProduct(const Conv2dGeometry& g, ConvPass pass)
      : images(g.batch),
        groups(g.groups),
        rows(pass == ConvPass::kForward ? g.group_out() : g.group_in()),
        depth(pass == ConvPass::kForward ? g.group_in() : g.group_out()),
        plane(g.output_plane()),
        panels(images * plane) {
    // With few panels the rows are cut, too; sums do not depend on it.
    const int64_t enough = std::max(16, 2 * g.threads), most = ceil_div(rows, int64_t{kTileRows});
    const int64_t parts = std::clamp<int64_t>(ceil_div(enough, groups * panels.count), 1, most);
    run = ceil_div(most, parts) * kTileRows;
  }

  int64_t images, groups, rows, depth, plane;
  Panels<T> panels;  // of the positions of all images
  int64_t run;       // rows of a unit

  int64_t positions() const { return images * plane; }
  int64_t runs() const { return ceil_div(rows, run); }
  int64_t slot_values() const { return (depth + run) * kTileCols<T>; }

  /// Calls fn(image, at, i, length) for the runs of positions from `first` on that are within one image.
  template <class F>
  void for_each_image(int64_t first, int64_t count, const F& fn) const {
    for (int64_t i = 0; i < count;) {
      const int64_t image = (first + i) / plane, at = (first + i) % plane, length = std::min(plane - at, count - i);
      fn(image, at, i, length);
      i += length;
    }
  }

  /// packed[d][i] = row d of a group at position first + i, zeros from `count` on.
  void pack(const T* x, int64_t first, int64_t count, T* packed) const {
    for_each_image(first, count, [&](int64_t image, int64_t at, int64_t i, int64_t length) {
      const T* from = x + image * groups * depth * plane + at;
      for (int64_t d = 0; d < depth; ++d) {
        std::memcpy(packed + d * kTileCols<T> + i, from + d * plane, static_cast<size_t>(length) * sizeof(T));
      }
    });
    if (count == kTileCols<T>) return;
    for (int64_t d = 0; d < depth; ++d) {
      std::fill(packed + d * kTileCols<T> + count, packed + (d + 1) * kTileCols<T>, T(0));
    }
  }

  void write(const T* sums, int64_t first, int64_t count, int64_t group, int64_t row, const ConvEpilogue<T>& epilogue,
             T* y) const {
    for_each_image(first, count, [&](int64_t image, int64_t at, int64_t i, int64_t length) {
      const int64_t to = ((image * groups + group) * rows + row) * plane;
      const ConvEpilogue<T> e = epilogue.at(group * rows + row, to);
      for (int64_t k = 0; k < std::min(run, rows - row); ++k) {
        FilterEpilogue<T>(e, k).write(sums + k * kTileCols<T> + i, length, k * plane + at, y + to);
      }
    });
  }

  /// Row r of w is a row of memory, or with kColumns a column.
  template <LeftOrder kOrder>
  void multiply(const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y, int threads, void* workspace) const {
    constexpr bool kRows = kOrder == LeftOrder::kRows;
    parallel_slots(panels.count * groups * runs(), threads, [&](int64_t unit, int slot) {
      const int64_t row = unit % runs() * run, group = unit / runs() % groups, panel = unit / runs() / groups;
      const int64_t first = panels.first(panel), count = std::min(panels.width(panel), positions() - first);
      T* const packed = static_cast<T*>(workspace) + slot * slot_values();
      T* const sums = packed + depth * kTileCols<T>;
      const int64_t image = first / plane, at = first % plane;
      const T* from = x + (image * groups + group) * depth * plane + at;
      int64_t step = plane;
      if (count < panels.width(panel) || at + count > plane) {
        pack(x + group * depth * plane, first, count, packed);
        from = packed;
        step = kTileCols<T>;
      }
      multiply_panel<kOrder>(std::min(run, rows - row), count, depth,
                             w + group * rows * depth + row * (kRows ? depth : 1), kRows ? depth : rows, from, step,
                             sums, kTileCols<T>, false);
      write(sums, first, count, group, row, epilogue, y);
    });
  }
};

template <class T>
void forward(const Conv2dGeometry& g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y, void* workspace) {
  PlaneProduct<T>(g, ConvPass::kForward).template multiply<LeftOrder::kRows>(x, w, epilogue, y, g.threads, workspace);
}

template <class T>
void backward_input(const Conv2dGeometry& g, const T* gy, const T* w, T* gx, void* workspace) {
  const PlaneProduct<T> product(g, ConvPass::kBackwardInput);
  product.template multiply<LeftOrder::kColumns>(gy, w, {}, gx, g.threads, workspace);
}

// ---- The table

bool accepts(const Conv2dGeometry& g, ConvPass pass) {
  return pass != ConvPass::kBackwardWeight && g.is_pointwise() && g.batch > 0 && g.output_plane() > 0;
}

/// Measured: the share of the full speed that the inner kernel reaches, and how long reading a value and writing a sum
/// take, in multiply-adds.
double cost(const Conv2dGeometry& g, ConvPass pass) {
  constexpr double kSpeed = 0.92, kValue = 5, kSum = 10;
  const PlaneProduct<float> p(g, pass);
  const auto positions = static_cast<double>(p.panels.vectors * kLanes<float>);
  const auto rows = static_cast<double>(p.rows), depth = static_cast<double>(p.depth),
             runs = static_cast<double>(p.runs());
  return static_cast<double>(p.groups) * positions * (rows * depth / kSpeed + kValue * depth * runs + kSum * rows);
}

template <class T>
int64_t workspace_bytes(const Conv2dGeometry& g, ConvPass pass) {
  return g.threads * PlaneProduct<T>(g, pass).slot_values() * static_cast<int64_t>(sizeof(T));
}

template <class T>
constexpr PointwiseConv2d<T> kTable{{"pointwise", accepts, cost, workspace_bytes<T>, nullptr, nullptr, forward<T>,
                                     backward_input<T>, nullptr, conv2d_bias_gradient<T>}};

}  // namespace

template <>
const PointwiseConv2d<float>& table() {
  return kTable<float>;
}
template <>
const PointwiseConv2d<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
