// Winograd's tiles from and to blocks of channels, whose pixels are the vectors that are transformed: nothing is
// transposed, and the border that blocks have is the padding.
#pragma once

#include "ops/conv2d/blocked.h"
#include "ops/conv2d/lane_epilogue.h"
#include "ops/conv2d/winograd_tiles.h"

namespace cnnx::CNNX_ISA::winograd {

/// Where a block's plane starts.
template <class T>
const T* block_at(const BlockedShape& s, const T* values, int64_t image, int64_t block) {
  return values + (image * s.blocks + block) * s.rows * s.cols * s.lanes;
}

/// The blocks that tiles of size x size want to be read from.
template <class T>
BlockedShape blocks_of(const Tiling& t, int64_t size, int64_t channels) {
  return {channels / kLanes<T>,         kLanes<T>, (t.rows - 1) * t.step + size,
          (t.cols - 1) * t.step + size, t.pad_top, t.pad_left};
}

/// transform_tiles() from blocks.
template <class Transform, class T>
void transform_blocks(const Tiling& t, const T* blocks, int64_t begin, int64_t end, int64_t channels, int64_t first,
                      int64_t count, int64_t pitch, int64_t product_step, T* to) {
  const BlockedShape shape = blocks_of<T>(t, Transform::kFrom, channels);
  for (int64_t c = begin; c < end; c += kLanes<T>) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t tile = first + i, col = tile % t.cols, row = tile / t.cols % t.rows, image = tile / t.cols / t.rows;
      const T* const corner =
          block_at(shape, blocks, image, c / kLanes<T>) + (row * shape.cols + col) * t.step * kLanes<T>;
      transform_tile<Transform>(corner, {shape.cols * kLanes<T>, kLanes<T>}, to + i * pitch + c,
                                {Transform::kTo * product_step, product_step});
    }
  }
}

/// What becomes of a tile's outputs.
enum class TileUse : unsigned char { kPlain, kPooled, kPooledWithSwitches };

/// The first rows x cols outputs of one tile, or what pooling makes of them; `winners` are like `to`.
template <class Transform, TileUse kUse, class T>
void write_tile(const T* products, int64_t product_step, const LaneEpilogue<T>& epilogue, int64_t rows, int64_t cols,
                T* to, int64_t row_step, T* winners = nullptr) {
  constexpr int64_t kSize = Transform::kTo, kStep = kLanes<T>;
  constexpr int64_t kWritten = kUse == TileUse::kPlain ? kSize : kSize / 2;
  T tile[kSize * kSize * kStep];
  transform_tile<Transform>(products, {Transform::kFrom * product_step, product_step}, tile, {kSize * kStep, kStep});
  const auto write = [&](int64_t i, int64_t j) {
    const int64_t at = i * row_step + j * kStep;
    if constexpr (kUse == TileUse::kPlain) {
      store(epilogue(tile + (i * kSize + j) * kStep), to + at);
    } else {
      const PooledPixel<T> pixel(tile + 2 * (i * kSize + j) * kStep, kSize * kStep, kStep, epilogue);
      store(pixel.best, to + at);
      if constexpr (kUse == TileUse::kPooledWithSwitches) store(pixel.winner, winners + at);
    }
  };
  if (rows == kWritten && cols == kWritten) {
#pragma GCC unroll 16
    for (int64_t i = 0; i < kWritten * kWritten; ++i) write(i / kWritten, i % kWritten);
  } else {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) write(i, j);
    }
  }
}

/// What pooling makes of a tiling of outputs.
inline Tiling pooled(const Tiling& t) {
  Tiling half = t;
  half.step /= 2, half.height /= 2, half.width /= 2;
  half.image_step = t.plane() > 0 ? t.image_step / t.plane() * half.plane() : 0;
  return half;
}

/// Zeros around the plane of one block.
template <class T>
void clear_border(const BlockedShape& s, int64_t height, int64_t width, T* block) {
  const int64_t row = s.cols * s.lanes;
  std::fill(block, block + s.top * row, T(0));
  for (int64_t y = s.top; y < s.top + height; ++y) {
    std::fill(block + y * row, block + y * row + s.left * s.lanes, T(0));
    std::fill(block + y * row + (s.left + width) * s.lanes, block + (y + 1) * row, T(0));
  }
  std::fill(block + (s.top + height) * row, block + s.rows * row, T(0));
}

/// write_tiles() to blocks; `t` are the outputs, pooled as kUse says.
template <class Transform, TileUse kUse, class T>
void write_blocks(const Tiling& t, const BlockedShape& shape, const T* products, int64_t pitch, int64_t product_step,
                  int64_t first, int64_t count, const LaneEpilogue<T>& epilogue, int64_t block, T* blocks) {
  const int64_t row_step = shape.cols * shape.lanes;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t tile = first + i, col = tile % t.cols * t.step, row = tile / t.cols % t.rows * t.step;
    T* const plane = blocks + ((tile / t.cols / t.rows) * shape.blocks + block) * shape.rows * row_step;
    if (row == 0 && col == 0) clear_border(shape, t.height, t.width, plane);
    write_tile<Transform, kUse>(products + i * pitch, product_step, epilogue, std::min(t.step, t.height - row),
                                std::min(t.step, t.width - col),
                                plane + (shape.top + row) * row_step + (shape.left + col) * shape.lanes, row_step);
  }
}

/// Numbers of pixels as bytes of planes.
template <class T>
void pixels_to_bytes(const Tiling& t, const Region& r, const T* pixels, int64_t lanes, int64_t image, uint8_t* planes) {
  for_each_block<T>(t, r, [&](int64_t offset, int64_t count, int64_t y, int64_t x) {
    Vector<T> block[kLanes<T>];
    for_each_pixel<T>(r, count, y, x, [&](int64_t l, int64_t pixel) { block[l] = load(pixels + pixel * kLanes<T>); });
    transpose<T>(block);
    uint8_t* const to = planes + image * t.image_step + offset;
    for (int64_t k = 0; k < lanes; ++k) store_bytes<T>(block[k], count, to + k * t.plane());
  });
}

/// write_tiles() with pooling; `t` are the pooled outputs, `switches` may be null.
template <class Transform, class T>
void write_pooled_tiles(const Tiling& t, const T* products, int64_t pitch, int64_t product_step, int64_t first,
                        int64_t count, const LaneEpilogue<T>& epilogue, int64_t lanes, T* pixels, T* planes,
                        uint8_t* switches) {
  const auto write =
      switches ? write_tile<Transform, TileUse::kPooledWithSwitches, T> : write_tile<Transform, TileUse::kPooled, T>;
  const std::array<FilterEpilogue<T>, kLanes<T>> done;
  for_each_stretch<T>(t, first, count, [&](const Stretch& stretch, int64_t at) {
    const Region region(t, stretch, t.step);
    T* const winners = pixels + region.height * region.width * kLanes<T>;
    for_each_tile(t, stretch, region, [&](int64_t tile, int64_t pixel) {
      write(products + (at + tile) * pitch, product_step, epilogue, t.step, t.step, pixels + pixel * kLanes<T>,
            region.width * kLanes<T>, winners + pixel * kLanes<T>);
    });
    pixels_to_planes(t, region, pixels, done.data(), lanes, stretch.image, planes);
    if (switches) pixels_to_bytes(t, region, winners, lanes, stretch.image, switches);
  });
}

}  // namespace cnnx::CNNX_ISA::winograd
