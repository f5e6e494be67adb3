// Runs of neighbours in k for tensor_gemm.h, gathered from images: patches.h's walks, with less to work out a value.
//
// Where patches are read over all taps and channels, channels are innermost: a run of channels lies in or outside the
// image as a whole. Their number is rounded up to whole runs. Along positions, a run is walked from its first.
#pragma once

#include "cuda/patches.h"

namespace cnnx::cuda {

/// Lanes are positions, depth is (tap, channel).
struct ChannelRuns {
  static constexpr bool kPacked = false, kAlongDepth = false;
  Patches<float> patches;
  int channels, taps;
  Divisor padded;  // channels, in whole runs

  ChannelRuns(const Patches<float>& images, int64_t count, int64_t chunk)
      : patches(images),
        channels(static_cast<int>(count)),
        taps(images.h.taps * images.w.taps),
        padded(round_up(count, chunk)) {}

  using Lane = Patches<float>::Position;
  struct Depth {
    Patches<float>::Tap tap;
    int left;  // channels
  };
  __device__ Lane lane(int, int lane) const { return patches.position(lane); }
  __device__ Depth depth(int, int k) const {
    const auto tap = padded.divide(static_cast<uint32_t>(k)), channel = k - tap * padded.value;
    return {patches.tap(channel, tap, static_cast<int>(tap) < taps), channels - static_cast<int>(channel)};
  }
  template <int kCount>
  __device__ void fetch(int z, const Lane& lane, const Depth& depth, float* values) const {
    const int left = patches.inside(lane, depth.tap) ? depth.left : 0, plane = patches.h.length * patches.w.length;
    const uint32_t first = lane.base + depth.tap.base;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      values[i] = i < left ? patches.x[z * patches.item_step + first + i * plane] : 0.0f;
    }
  }
};

/// Lanes are taps, depth is positions: the gradient of the weights.
struct PositionRuns {
  static constexpr bool kPacked = false, kAlongDepth = true;
  Patches<float> patches;

  using Lane = Patches<float>::Tap;
  struct Depth {
    Patches<float>::Position at;
    int i, j;  // in the output
    int left;  // positions
  };
  __device__ Lane lane(int, int lane) const { return patches.tap(lane); }
  __device__ Depth depth(int, int k) const {
    const auto& p = patches;
    const auto rest = static_cast<uint32_t>(k) - p.plane.divide(static_cast<uint32_t>(k)) * p.plane.value,
               i = p.columns.divide(rest);
    return {p.position(k), static_cast<int>(i), static_cast<int>(rest - i * p.columns.value), p.positions - k};
  }
  template <int kCount>
  __device__ void fetch(int z, const Lane& lane, Depth depth, float* values) const {
    const PatchAxis &h = patches.h, &w = patches.w;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      values[i] = i < depth.left ? patches.value(z, depth.at, lane) : 0.0f;
      depth.at.column += w.stride;
      depth.at.base += static_cast<uint32_t>(w.stride);
      if (++depth.j < w.positions) continue;
      depth.j = 0;
      depth.at.column = w.start;
      depth.at.row += h.stride;
      depth.at.base += static_cast<uint32_t>(h.stride * w.length - w.positions * w.stride);
      if (++depth.i < h.positions) continue;
      depth.i = 0;
      depth.at.row = h.start;
      depth.at.base += static_cast<uint32_t>(patches.image_step) -
                       static_cast<uint32_t>(h.positions) * static_cast<uint32_t>(h.stride * w.length);
    }
  }
};

/// Lanes are channels of images, depth is positions: gy for the gradient of the weights.
struct PixelRuns {
  static constexpr bool kPacked = false, kAlongDepth = true;
  const float* y;
  int64_t image_step, item_step;
  int channels, positions;
  Divisor plane;
  bool has_quads;  // planes of a multiple of four values: four neighbours are of one plane

  using Lane = int;  // its offset, negative outside
  struct Depth {
    const float* start;  // of the image
    int at;              // in the plane
    int left;            // positions
  };
  __device__ Lane lane(int, int lane) const { return lane < channels ? lane * static_cast<int>(plane.value) : -1; }
  __device__ Depth depth(int z, int k) const {
    const auto image = plane.divide(static_cast<uint32_t>(k));
    return {y + image * image_step + z * item_step, static_cast<int>(k - image * plane.value), positions - k};
  }
  template <int kCount>
  __device__ void fetch(int, const Lane& lane, Depth depth, float* values) const {
    if (lane < 0) depth.left = 0;
    if (has_quads) {
#pragma unroll
      for (int i = 0; i < kCount; i += 4) {
        const Quad<float> four =
            i < depth.left ? *reinterpret_cast<const Quad<float>*>(depth.start + lane + depth.at) : Quad<float>{};
#pragma unroll
        for (int j = 0; j < 4; ++j) values[i + j] = four.v[j];
        advance(depth, 4);
      }
      return;
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      values[i] = i < depth.left ? depth.start[lane + depth.at] : 0.0f;
      advance(depth, 1);
    }
  }

 private:
  __device__ void advance(Depth& depth, int count) const {
    depth.at += count;
    if (depth.at < static_cast<int>(plane.value)) return;
    depth.at = 0;
    depth.start += image_step;
  }
};

}  // namespace cnnx::cuda
