// Windows over images as an operand of a product, and images as its result: what convolution needs beside gemm.h.
//
// Three walks over images are the same with other numbers: the forward pass reads x, the gradient of x reads gy, the
// gradient of the weights reads x along the other direction. Position p = (image, i, j) and tap t = (channel, r, s)
// meet at row i * stride + start + r * step, and likewise in columns; outside the image there are zeros. All images of
// a launch have fewer than 2^31 values.
#pragma once

#include "cuda/gemm.h"
#include "ops/conv2d/conv2d.h"

namespace cnnx::cuda {

/// One direction of the walk.
struct PatchAxis {
  int positions = 0, taps = 0;
  int stride = 1, start = 0, step = 1;
  int length = 0;  // of the image
};

template <class T>
struct Patches {
  const T* x = nullptr;
  int64_t image_step = 0;  // values of an image
  int64_t item_step = 0;   // of one group's channels
  PatchAxis h, w;
  int positions = 0;           // in all images
  int depth = 0;               // taps of all channels
  Divisor columns, plane;      // positions of a row, of an image
  Divisor taps_w, taps_plane;  // taps of a row, of a channel

  Patches(const T* images, int64_t image, int64_t item, int64_t batch, int64_t channels, const PatchAxis& axis_h,
          const PatchAxis& axis_w)
      : x(images),
        image_step(image),
        item_step(item),
        h(axis_h),
        w(axis_w),
        positions(static_cast<int>(batch * h.positions * w.positions)),
        depth(static_cast<int>(channels * h.taps * w.taps)),
        columns(std::max(1, w.positions)),
        plane(std::max(1, h.positions * w.positions)),
        taps_w(std::max(1, w.taps)),
        taps_plane(std::max(1, h.taps * w.taps)) {}

  static constexpr int kNoTap = INT32_MIN;     // 2^15 rows up: more than any kernel spans
  static constexpr int kNowhere = -(1 << 30);  // a row far outside any image
  /// Threads hold several of these, so they are small. Bases add up to the pixel's place, modulo 2^32.
  struct Position {
    uint32_t base;
    int row, column;
  };
  struct Tap {
    uint32_t base;
    int steps;  // rows in the upper half, columns in the lower; kNoTap behind the last
  };

  __device__ Position position(int p) const {
    const auto image = plane.divide(static_cast<uint32_t>(p)), rest = p - image * plane.value, i = columns.divide(rest);
    const int row = static_cast<int>(i) * h.stride + h.start;
    const int column = static_cast<int>(rest - i * columns.value) * w.stride + w.start;
    return {image * static_cast<uint32_t>(image_step) + static_cast<uint32_t>(row * w.length + column),
            p < positions ? row : kNowhere, column};
  }
  __device__ Tap tap(int t) const {
    const auto channel = taps_plane.divide(static_cast<uint32_t>(t));
    return tap(channel, t - channel * taps_plane.value, t < depth);
  }
  /// The tap of a channel that is number `rest` there.
  __device__ Tap tap(uint32_t channel, uint32_t rest, bool exists) const {
    const auto r = taps_w.divide(rest);
    const int row = static_cast<int>(r) * h.step, column = static_cast<int>(rest - r * taps_w.value) * w.step;
    const uint32_t base = channel * static_cast<uint32_t>(h.length * w.length);
    const auto steps = static_cast<uint32_t>(row) << 16 | (static_cast<uint32_t>(column) & 0xffffu);
    return {base + static_cast<uint32_t>(row * w.length + column), exists ? static_cast<int>(steps) : kNoTap};
  }
  __device__ bool inside(const Position& at, const Tap& tap) const {
    const int row = at.row + (tap.steps >> 16), column = at.column + static_cast<int16_t>(tap.steps);
    return static_cast<unsigned>(row) < static_cast<unsigned>(h.length) &&
           static_cast<unsigned>(column) < static_cast<unsigned>(w.length) && tap.steps != kNoTap;
  }
  __device__ T value(int z, const Position& at, const Tap& tap) const {
    return inside(at, tap) ? x[z * item_step + (at.base + tap.base)] : T(0);
  }
};

/// Lanes are positions, depth is taps: neighbouring threads read neighbouring pixels.
template <class T>
struct PositionLoader {
  static constexpr bool kAlongDepth = false;
  static constexpr int kWidth = 1;
  Patches<T> patches;

  using Lane = typename Patches<T>::Position;
  using Depth = typename Patches<T>::Tap;
  __device__ Lane lane(int, int lane) const { return patches.position(lane); }
  __device__ Depth depth(int, int k) const { return patches.tap(k); }
  __device__ void fetch(int z, const Lane& lane, const Depth& depth, T* values) const {
    values[0] = patches.value(z, lane, depth);
  }
};

/// Lanes are taps, depth is positions: the gradient of the weights.
template <class T>
struct TapLoader {
  static constexpr bool kAlongDepth = true;
  static constexpr int kWidth = 1;
  Patches<T> patches;

  using Lane = typename Patches<T>::Tap;
  using Depth = typename Patches<T>::Position;
  __device__ Lane lane(int, int lane) const { return patches.tap(lane); }
  __device__ Depth depth(int, int k) const { return patches.position(k); }
  __device__ void fetch(int z, const Lane& lane, const Depth& depth, T* values) const {
    values[0] = patches.value(z, depth, lane);
  }
};

/// Lanes are channels of images, depth is positions: gy for the gradient of the weights.
template <class T>
struct ChannelLoader {
  static constexpr bool kAlongDepth = true;
  static constexpr int kWidth = 1;
  const T* y;
  int64_t image_step, item_step;
  int channels, positions;
  Divisor plane;

  using Lane = int;  // its offset, negative outside
  struct Depth {
    const T* start;  // null outside
  };
  __device__ Lane lane(int, int lane) const { return lane < channels ? lane * static_cast<int>(plane.value) : -1; }
  __device__ Depth depth(int z, int k) const {
    const auto image = plane.divide(static_cast<uint32_t>(k));
    return {k < positions ? y + image * image_step + z * item_step + (k - image * plane.value) : nullptr};
  }
  __device__ void fetch(int, const Lane& lane, const Depth& depth, T* values) const {
    values[0] = depth.start && lane >= 0 ? depth.start[lane] : T(0);
  }
};

/// The epilogue of one sum of filter k at place `at` of the output.
template <class T>
__device__ T finish(const ConvEpilogue<T>& e, T sum, int64_t k, int64_t at) {
  if (e.scale) sum *= e.scale[k];
  if (e.shift) sum += e.shift[k];
  if (e.residual) sum += e.residual[at];
  return e.relu && sum <= T(0) ? T(0) : sum;
}

/// Images as the result: m is the channel of a group, n is position (image, i, j), which lies in row first + i *
/// stride.
template <class T>
struct ImageStore {
  T* y;
  int64_t image_step, part_step;
  int channels;  // of a group
  int first_h, stride_h, first_w, stride_w, width;
  int plane_step;          // values of a channel
  Divisor columns, plane;  // positions of a row, of an image
  ConvEpilogue<T> epilogue;
  bool has_quads;

  struct Column {
    int64_t offset;  // in y, of the group's first channel
    int64_t part;
    int z;
  };
  __device__ Column column(int z, int part, int n) const {
    const auto image = plane.divide(static_cast<uint32_t>(n)), rest = n - image * plane.value, i = columns.divide(rest);
    const int j = static_cast<int>(rest - i * columns.value);
    const int pixel = (static_cast<int>(i) * stride_h + first_h) * width + j * stride_w + first_w;
    return {image * image_step + int64_t{z} * channels * plane_step + pixel, part * part_step, z};
  }
  __device__ void write(const Column& column, int m, T value) const {
    const int64_t at = column.offset + int64_t{m} * plane_step;
    y[column.part + at] = finish(epilogue, value, int64_t{column.z} * channels + m, at);
  }
  __device__ void write4(const Column& column, int m, Quad<T> values) const {
    const int64_t at = column.offset + int64_t{m} * plane_step;
#pragma unroll
    for (int i = 0; i < 4; ++i) values.v[i] = finish(epilogue, values.v[i], int64_t{column.z} * channels + m, at + i);
    *reinterpret_cast<Quad<T>*>(y + column.part + at) = values;
  }
};

}  // namespace cnnx::cuda
