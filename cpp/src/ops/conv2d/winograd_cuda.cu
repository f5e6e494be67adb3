// Winograd's convolution F(4x4, 3x3) with stride 1 on CUDA, in float32 and float64, without tensor cores.
//
// The filters, and the tile of 6x6 inputs of every 4x4 outputs, are transformed to 36 values each. Those are multiplied
// over the channels, as 36 matrix products a group, and what comes out is transformed to outputs, through the epilogue.
// The gradient of x is the same with gy as the image and the filters turned around. For the gradient of w, tiles of gy
// are multiplied with those of x over the tiles.
//
// A thread has one tile of one channel, or one filter's weights for one channel, and keeps them in registers.
// Neighbouring threads have neighbours, which lie side by side in each of the 36 matrices:
//
//   u[36][filters][channels of a group]    filters, or sums for the gradient of w
//   v[36][channels][tiles]                 inputs
//   m[36][filters][tiles]                  products, or gradients of outputs
//
// Tiles are worked on in runs, so that the second-level cache holds most of what one kernel leaves to the next.
#include <utility>

#include "cuda/matrix_product.h"
#include "cuda/patches.h"
#include "ops/conv2d/bias_cuda.h"
#include "ops/conv2d/conv2d.h"
#include "ops/conv2d/winograd_forms.h"

namespace cnnx::cuda {
namespace {

template <class T>
using Form = winograd::F4x3<T>;
constexpr int kTile = Form<float>::kTile, kProducts = Form<float>::kProducts, kOutput = Form<float>::kOutput;
constexpr int kFilter = Form<float>::kFilter, kTaps = Form<float>::kTaps;

/// Bytes of v and m for a byte of im2col's columns: 64 MiB, less under a limit. A kernel reads one of the two, and an
/// H100's cache holds 50 MB.
constexpr int64_t kBytesOfRun = 128;

/// The tiles of one axis of outputs.
int64_t tiles_along(int64_t length) { return ceil_div(length, kOutput); }

/// A pass as a convolution: of x to y, or of gy to gx with its filters turned around. The gradient of w goes over the
/// tiles of the first.
struct Problem {
  struct Image {
    int64_t channels, height, width;  // of all groups
    int64_t plane() const { return height * width; }
  };

  Problem(const Conv2dGeometry& g, ConvPass pass)
      : is_turned(pass == ConvPass::kBackwardInput), batch(g.batch), groups(g.groups) {
    in = {g.in_channels, g.h.input, g.w.input};
    out = {g.out_channels, g.h.output, g.w.output};
    top = g.h.pad_before;
    left = g.w.pad_before;
    if (is_turned) {
      std::swap(in, out);
      top = kFilter - 1 - top;
      left = kFilter - 1 - left;
    }
  }
  int64_t tiles() const { return batch * tiles_along(out.height) * tiles_along(out.width); }
  /// Of the filters, for one channel each.
  int64_t planes() const { return out.channels * in.channels / groups; }

  bool is_turned;
  int64_t batch, groups, top, left;  // top and left are the padding, less than none where it is negative
  Image in, out;
};

/// How many tiles a run has, a multiple of four, so that products read four at a time.
template <class T>
int64_t tiles_of_run(const Conv2dGeometry& g, const Problem& p) {
  const int64_t bytes = kProducts * (p.in.channels + p.out.channels) * static_cast<int64_t>(sizeof(T));
  const int64_t most = std::max<int64_t>(4, kBytesOfRun * g.column_bytes / bytes / 4 * 4);
  return round_up(ceil_div(p.tiles(), ceil_div(p.tiles(), most)), 4);
}

bool accepts(const Conv2dGeometry& g, ConvPass) {
  const auto fits = [](const WindowAxis& a) {
    return a.kernel == kFilter && a.stride == 1 && a.dilation == 1 && a.input > 0 && a.output > 0 &&
           is_small(a.input + a.pad_before + a.pad_after + kTile);
  };
  if (!fits(g.h) || !fits(g.w) || g.batch == 0 || g.precision != Precision::kFull) return false;
  const int64_t tiles =
      std::max(tiles_along(g.h.input) * tiles_along(g.w.input), tiles_along(g.h.output) * tiles_along(g.w.output));
  return is_small(std::max({g.input_plane(), g.output_plane(), kProducts * g.in_channels, kProducts * g.out_channels,
                            g.out_channels * g.filter_size(), g.batch * tiles + 4}));
}

/// What is multiplied, what goes through memory and how often a kernel starts, by an H100's data sheet: 33.5
/// multiply-adds and 3.35 bytes a picosecond in float32, half as many multiply-adds in float64. Never measured.
/// Products of too few tiles leave multiprocessors idle.
double cost(const Conv2dGeometry& g, ConvPass pass) {
  constexpr double kPerValue = 40, kPerLaunch = 6e7;  // two microseconds
  constexpr double kMultiprocessors = 132;
  const Problem p(g, pass);
  const int64_t run = tiles_of_run<float>(g, p), runs = ceil_div(p.tiles(), run);
  const bool is_weight = pass == ConvPass::kBackwardWeight;
  const int64_t rows = p.out.channels / p.groups, columns = is_weight ? p.in.channels / p.groups : run;
  const int64_t blocks = kProducts * p.groups * ceil_div(rows, 64) * ceil_div(columns, 64);
  const auto tiles = static_cast<double>(runs * run), planes = static_cast<double>(p.planes());
  const double products = kProducts * tiles * planes * static_cast<double>(round_up(rows, 32)) /
                          static_cast<double>(rows) * std::max(1.0, kMultiprocessors / static_cast<double>(blocks));
  const double filters = (kTaps + 2 * kProducts) * planes * static_cast<double>(is_weight ? runs : 1);
  const double images = 2 * kProducts * tiles * static_cast<double>(p.in.channels + p.out.channels) +
                        static_cast<double>(p.batch * (p.in.channels * p.in.plane() + p.out.channels * p.out.plane()));
  return products + kPerValue * (filters + images) + kPerLaunch * static_cast<double>(3 * runs + 1);
}

/// Beside what matrix_product() takes for itself.
template <class T>
int64_t workspace_bytes(const Conv2dGeometry& g, ConvPass pass) {
  const Problem p(g, pass);
  const int64_t tiles = tiles_of_run<T>(g, p);
  return kProducts * (p.planes() + (p.in.channels + p.out.channels) * tiles) * static_cast<int64_t>(sizeof(T));
}

/// A transform of the rows, then of the columns, of a square.
template <class Transform, class T, int kFrom = Transform::kFrom, int kTo = Transform::kTo>
__device__ void transform_square(const T (&from)[kFrom][kFrom], T (&to)[kTo][kTo]) {
  T middle[kFrom][kTo];
#pragma unroll
  for (int i = 0; i < kFrom; ++i) Transform::apply(from[i], middle[i]);
#pragma unroll
  for (int j = 0; j < kTo; ++j) {
    T column[kFrom], result[kTo];
#pragma unroll
    for (int i = 0; i < kFrom; ++i) column[i] = middle[i][j];
    Transform::apply(column, result);
#pragma unroll
    for (int i = 0; i < kTo; ++i) to[i][j] = result[i];
  }
}

/// The same from or to each of 36 matrices, at one place.
template <class T>
__device__ void put_square(const T (&values)[kTile][kTile], int64_t step, T* to) {
#pragma unroll
  for (int i = 0; i < kTile; ++i) {
#pragma unroll
    for (int j = 0; j < kTile; ++j) to[(i * kTile + j) * step] = values[i][j];
  }
}
template <class T>
__device__ void get_square(const T* from, int64_t step, T (&values)[kTile][kTile]) {
#pragma unroll
  for (int i = 0; i < kTile; ++i) {
#pragma unroll
    for (int j = 0; j < kTile; ++j) values[i][j] = from[(i * kTile + j) * step];
  }
}

/// The tiles of a run in images of one array.
struct Run {
  Run(const Problem& p, const Problem::Image& image, int64_t first_tile, int64_t tiles)
      : height(static_cast<int>(image.height)),
        width(static_cast<int>(image.width)),
        channels(image.channels),
        first(static_cast<int>(first_tile)),
        count(static_cast<int>(tiles)),
        columns(tiles_along(p.out.width)),
        plane(tiles_along(p.out.height) * tiles_along(p.out.width)),
        pitch(round_up(tiles, 4)) {}

  struct Tile {
    bool exists;  // not one that only fills up the pitch
    int channel;
    int64_t start;    // of the channel's plane
    int row, column;  // of the first output
  };
  /// Number i of all channels, or filters, a pitch each.
  __device__ Tile tile(int64_t i) const {
    const auto at = static_cast<uint32_t>(i), channel = pitch.divide(at), rest = at - channel * pitch.value;
    const uint32_t number = static_cast<uint32_t>(first) + rest, image = plane.divide(number),
                   place = number - image * plane.value, row = columns.divide(place);
    return {static_cast<int>(rest) < count, static_cast<int>(channel), (image * channels + channel) * height * width,
            static_cast<int>(row) * kOutput, static_cast<int>(place - row * columns.value) * kOutput};
  }
  int64_t threads() const { return channels * pitch.value; }

  int height, width;
  int64_t channels;
  int first, count;
  Divisor columns, plane, pitch;
};

template <class T>
void transform_filters(const Problem& p, const T* w, T* u) {
  const int64_t planes = p.planes();
  const int first = p.is_turned ? kTaps - 1 : 0, step = p.is_turned ? -1 : 1;
  for_each(planes, [=] __device__(int64_t i) {
    T taps[kFilter][kFilter], values[kTile][kTile];
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) taps[tap / kFilter][tap % kFilter] = w[i * kTaps + first + tap * step];
    transform_square<typename Form<T>::Filter>(taps, values);
    put_square(values, planes, u + i);
  });
}

/// Squares of an image to 36 matrices. They start `top` rows above a tile's first output and `left` columns before.
template <class Transform, class T>
void transform_tiles(const Run& run, int top, int left, const T* image, T* to) {
  const int64_t step = run.threads();
  for_each(step, [=] __device__(int64_t i) {
    constexpr int kFrom = Transform::kFrom;
    const Run::Tile tile = run.tile(i);
    const T* const plane = image + tile.start;
    T pixels[kFrom][kFrom], values[kTile][kTile];
#pragma unroll
    for (int r = 0; r < kFrom; ++r) {
      const int row = tile.row - top + r;
      const bool inside = tile.exists && static_cast<unsigned>(row) < static_cast<unsigned>(run.height);
#pragma unroll
      for (int c = 0; c < kFrom; ++c) {
        const int column = tile.column - left + c;
        pixels[r][c] = inside && static_cast<unsigned>(column) < static_cast<unsigned>(run.width)
                           ? plane[row * run.width + column]
                           : T(0);
      }
    }
    transform_square<Transform>(pixels, values);
    put_square(values, step, to + i);
  });
}

/// 36 matrices to outputs.
template <class T>
void write_outputs(const Run& run, const T* m, const ConvEpilogue<T>& epilogue, T* y) {
  const int64_t step = run.threads();
  const bool has_quads = run.width % kOutput == 0 && reinterpret_cast<uintptr_t>(y) % 16 == 0;
  for_each(step, [=] __device__(int64_t i) {
    const Run::Tile tile = run.tile(i);
    if (!tile.exists) return;
    T values[kTile][kTile], outputs[kOutput][kOutput];
    get_square(m + i, step, values);
    transform_square<typename Form<T>::Output>(values, outputs);
#pragma unroll
    for (int r = 0; r < kOutput; ++r) {
      if (tile.row + r >= run.height) break;
      const int64_t at = tile.start + (tile.row + r) * run.width + tile.column;
      Quad<T> quad;
#pragma unroll
      for (int c = 0; c < kOutput; ++c) {
        if (tile.column + c < run.width) quad.v[c] = finish(epilogue, outputs[r][c], tile.channel, at + c);
      }
      if (has_quads) {
        *reinterpret_cast<Quad<T>*>(y + at) = quad;
        continue;
      }
#pragma unroll
      for (int c = 0; c < kOutput; ++c) {
        if (tile.column + c < run.width) y[at + c] = quad.v[c];
      }
    }
  });
}

/// Sums of products to gradients of weights, which the runs after the first add to.
template <class T>
void write_filter_gradients(int64_t planes, const T* sums, bool is_first, T* gw) {
  for_each(planes, [=] __device__(int64_t i) {
    T values[kTile][kTile], taps[kFilter][kFilter];
    get_square(sums + i, planes, values);
    transform_square<typename Form<T>::FilterGradient>(values, taps);
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
      const T value = taps[tap / kFilter][tap % kFilter];
      T& to = gw[i * kTaps + tap];
      to = is_first ? value : to + value;
    }
  });
}

/// Where u, v and m lie in the workspace, for runs of at most so many tiles.
template <class T>
struct Matrices {
  Matrices(const Problem& p, int64_t tiles, void* workspace)
      : u(static_cast<T*>(workspace)), v(u + kProducts * p.planes()), m(v + kProducts * p.in.channels * tiles) {}
  T *u, *v, *m;
};

/// Calls fn(first, count) for every run of tiles.
template <class T, class F>
void for_each_run(const Conv2dGeometry& g, const Problem& p, F&& fn) {
  const int64_t tiles = p.tiles(), most = tiles_of_run<T>(g, p);
  for (int64_t first = 0; first < tiles; first += most) fn(first, std::min(most, tiles - first));
}

template <class T>
void convolve(const Conv2dGeometry& g, ConvPass pass, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y,
              void* workspace) {
  const Problem p(g, pass);
  const Matrices<T> matrices(p, tiles_of_run<T>(g, p), workspace);
  transform_filters(p, w, matrices.u);
  for_each_run<T>(g, p, [&](int64_t first, int64_t count) {
    const Run in(p, p.in, first, count), out(p, p.out, first, count);
    transform_tiles<typename Form<T>::Input>(in, static_cast<int>(p.top), static_cast<int>(p.left), x, matrices.v);
    const int64_t rows = p.out.channels / p.groups, depth = p.in.channels / p.groups, columns = in.pitch.value;
    // The weights of a turned filter lie as the forward pass has them, (its filter, its channel).
    matrix_product<T>({.items = kProducts * p.groups,
                       .m = rows,
                       .n = columns,
                       .k = depth,
                       .transpose_a = p.is_turned,
                       .step_a = rows * depth,
                       .step_b = depth * columns,
                       .nested = true},
                      matrices.u, matrices.v, nullptr, matrices.m);
    write_outputs(out, matrices.m, epilogue, y);
  });
}

template <class T>
void forward(const Conv2dGeometry& g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y, void* workspace) {
  convolve(g, ConvPass::kForward, x, w, epilogue, y, workspace);
}

template <class T>
void backward_input(const Conv2dGeometry& g, const T* gy, const T* w, T* gx, void* workspace) {
  convolve(g, ConvPass::kBackwardInput, gy, w, {}, gx, workspace);
}

template <class T>
void backward_weight(const Conv2dGeometry& g, const T* x, const T* gy, T* gw, void* workspace) {
  const Problem p(g, ConvPass::kBackwardWeight);
  const Matrices<T> matrices(p, tiles_of_run<T>(g, p), workspace);
  for_each_run<T>(g, p, [&](int64_t first, int64_t count) {
    const Run in(p, p.in, first, count), out(p, p.out, first, count);
    transform_tiles<typename Form<T>::Input>(in, static_cast<int>(p.top), static_cast<int>(p.left), x, matrices.v);
    transform_tiles<typename Form<T>::Gradient>(out, 0, 0, gy, matrices.m);
    const int64_t rows = p.out.channels / p.groups, columns = p.in.channels / p.groups, depth = in.pitch.value;
    matrix_product<T>({.items = kProducts * p.groups,
                       .m = rows,
                       .n = columns,
                       .k = depth,
                       .transpose_b = true,
                       .step_a = rows * depth,
                       .step_b = columns * depth,
                       .nested = true},
                      matrices.m, matrices.v, nullptr, matrices.u);
    write_filter_gradients(p.planes(), matrices.u, first == 0, gw);
  });
}

template <class T>
constexpr WinogradConv2d<T> kTable{{"winograd", accepts, cost, workspace_bytes<T>, nullptr, nullptr, forward<T>,
                                    backward_input<T>, backward_weight<T>, conv2d_bias_gradient<T>}};

}  // namespace

template <>
const WinogradConv2d<float>& table() {
  return kTable<float>;
}
template <>
const WinogradConv2d<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::cuda
