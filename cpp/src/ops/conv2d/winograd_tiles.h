// Winograd's tiles: from the planes of an image to transformed tiles, and back.
//
// A vector holds one value of kLanes channels. So a tile is transformed with whole vectors wherever it lies, and no
// number of tiles wastes part of one; the planes are transposed to such vectors, "pixels", once before and once after.
#pragma once

#include <algorithm>

#include "ops/conv2d/epilogue.h"
#include "ops/conv2d/winograd.h"
#include "ops/shuffle.h"
#include "rounding.h"

namespace cnnx::CNNX_ISA::winograd {

/// Tiles of an image's planes, numbered by image, row and column; `step` apart, they start at (-pad_top, -pad_left).
struct Tiling {
  int64_t step = 0;
  int64_t images = 0, height = 0, width = 0;  // of the planes
  int64_t pad_top = 0, pad_left = 0;
  int64_t rows = 0, cols = 0;  // of tiles
  int64_t image_step = 0;      // values from one image's plane to the next one's

  int64_t count() const { return images * rows * cols; }
  int64_t plane() const { return height * width; }
};

/// Neighbouring tiles of one image: some whole rows, or a part of one.
struct Stretch {
  int64_t image, first_row, last_row, first_col, last_col;
};

/// The pixels that a stretch's tiles of size x size cover: where they start in the planes, and how many.
struct Region {
  Region(const Tiling& t, const Stretch& s, int64_t size)
      : top(s.first_row * t.step - t.pad_top),
        left(s.first_col * t.step - t.pad_left),
        height((s.last_row - s.first_row) * t.step + size),
        width((s.last_col - s.first_col) * t.step + size),
        inside_top(std::clamp<int64_t>(-top, 0, height)),
        inside_left(std::clamp<int64_t>(-left, 0, width)),
        inside_bottom(std::clamp(t.height - top, inside_top, height)),
        inside_right(std::clamp(t.width - left, inside_left, width)) {}

  int64_t top, left, height, width;
  int64_t inside_top, inside_left, inside_bottom, inside_right;  // of the pixels, those inside the planes
};

/// Rows of tiles whose pixels are worked on at a time.
template <class T>
int64_t stretch_rows(const Tiling& t) {
  constexpr int64_t kPixelBytes = 1 << 16;
  return std::clamp<int64_t>(kPixelBytes / (t.step * t.cols * t.step * kVectorBytes), 1, t.rows);
}

/// Room for the pixels of a stretch of at most `tiles` tiles.
template <class T>
int64_t pixel_values(const Tiling& t, int64_t size, int64_t tiles) {
  const int64_t cols = std::min(t.cols, tiles);
  return ((stretch_rows<T>(t) - 1) * t.step + size) * ((cols - 1) * t.step + size) * kLanes<T>;
}

/// Calls fn(stretch, at) for `count` tiles from `first` on; `at` counts the tiles before.
template <class T, class F>
void for_each_stretch(const Tiling& t, int64_t first, int64_t count, F&& fn) {
  const int64_t most_rows = stretch_rows<T>(t);
  for (int64_t at = 0; at < count;) {
    const int64_t tile = first + at, col = tile % t.cols, row = tile / t.cols % t.rows, left = count - at;
    const bool is_part = col > 0 || left < t.cols;
    const int64_t rows = is_part ? 1 : std::min({left / t.cols, t.rows - row, most_rows});
    const int64_t cols = is_part ? std::min(left, t.cols - col) : t.cols;
    fn(Stretch{tile / t.cols / t.rows, row, row + rows - 1, col, col + cols - 1}, at);
    at += rows * cols;
  }
}

/// Calls fn(offset in a plane, count, pixel of the first, of the one after a row's last) for blocks of at most kLanes
/// values that lie together in the planes and inside the region. A block may run over the ends of rows.
template <class T, class F>
void for_each_block(const Tiling& t, const Region& r, F&& fn) {
  const int64_t width = r.inside_right - r.inside_left, height = r.inside_bottom - r.inside_top;
  const bool is_flat = width == t.width;
  const int64_t lines = is_flat ? 1 : height, length = is_flat ? height * width : width;
  for (int64_t line = 0; line < lines; ++line) {
    const int64_t y = r.inside_top + line, offset = (r.top + y) * t.width + r.left + r.inside_left;
    for (int64_t at = 0; at < length; at += kLanes<T>) {
      fn(offset + at, std::min<int64_t>(kLanes<T>, length - at), y + at / width, at % width);
    }
  }
}

/// Calls fn(lane, pixel) for a block's values, the first of which is at row y and column x of the region's inside.
template <class T, class F>
void for_each_pixel(const Region& r, int64_t count, int64_t y, int64_t x, F&& fn) {
  const int64_t width = r.inside_right - r.inside_left;
  int64_t pixel = y * r.width + r.inside_left + x;
  if (count == kLanes<T> && x + kLanes<T> <= width) {  // the usual case: unrolled
#pragma GCC unroll 16
    for (int l = 0; l < kLanes<T>; ++l) fn(l, pixel + l);
    return;
  }
  for (int64_t l = 0; l < count; ++l, ++pixel) {
    fn(l, pixel);
    if (++x == width) {
      x = 0;
      pixel += r.width - width;
    }
  }
}

template <class T>
void zero_pixels(T* pixels, int64_t begin, int64_t end) {
  std::fill(pixels + begin * kLanes<T>, pixels + end * kLanes<T>, T(0));
}

/// pixels[y][x][lane] of a region from the planes of `lanes` channels, zero outside. Whole vectors are read where that
/// stays before `last`.
template <class T>
void planes_to_pixels(const Tiling& t, const Region& r, const T* planes, int64_t lanes, const T* last, T* pixels) {
  zero_pixels(pixels, 0, r.inside_top * r.width);
  for (int64_t y = r.inside_top; y < r.inside_bottom; ++y) {
    zero_pixels(pixels, y * r.width, y * r.width + r.inside_left);
    zero_pixels(pixels, y * r.width + r.inside_right, (y + 1) * r.width);
  }
  zero_pixels(pixels, r.inside_bottom * r.width, r.height * r.width);
  constexpr int64_t kAhead = 4 * kLanes<T>;
  const int64_t plane = t.plane();
  for_each_block<T>(t, r, [&](int64_t offset, int64_t count, int64_t y, int64_t x) {
    Vector<T> block[kLanes<T>];
    if (const T* const from = planes + offset; lanes == kLanes<T> && last - from >= (lanes - 1) * plane + kLanes<T>) {
#pragma GCC unroll 16
      for (int c = 0; c < kLanes<T>; ++c) {
        __builtin_prefetch(from + c * plane + kAhead);
        block[c] = load(from + c * plane);
      }
    } else {
      std::fill(block, block + kLanes<T>, Vector<T>{});
      for (int64_t c = 0; c < lanes; ++c) {
        const auto room = static_cast<size_t>(std::min<int64_t>(kLanes<T>, last - from - c * plane));
        std::memcpy(&block[c], from + c * plane, room * sizeof(T));
      }
    }
    transpose<T>(block);
    for_each_pixel<T>(r, count, y, x, [&](int64_t l, int64_t pixel) { store(block[l], pixels + pixel * kLanes<T>); });
  });
}

/// The inverse, through the epilogues of the planes' filters.
template <class T>
void pixels_to_planes(const Tiling& t, const Region& r, const T* pixels, const FilterEpilogue<T>* epilogues,
                      int64_t lanes, int64_t image, T* planes) {
  const int64_t plane = t.plane();
  for_each_block<T>(t, r, [&](int64_t offset, int64_t count, int64_t y, int64_t x) {
    Vector<T> block[kLanes<T>];
    for_each_pixel<T>(r, count, y, x, [&](int64_t l, int64_t pixel) { block[l] = load(pixels + pixel * kLanes<T>); });
    transpose<T>(block);
    const int64_t at = image * t.image_step + offset;
    if (lanes == kLanes<T> && count == kLanes<T>) {
#pragma GCC unroll 16
      for (int k = 0; k < kLanes<T>; ++k) epilogues[k].write_vector(block[k], at + k * plane, planes);
    } else {
      T line[kLanes<T>];
      for (int64_t k = 0; k < lanes; ++k) {
        store(block[k], line);
        epilogues[k].write(line, count, at + k * plane, planes);
      }
    }
  });
}

/// Calls fn(tile, its first pixel) for the tiles of a stretch.
template <class F>
void for_each_tile(const Tiling& t, const Stretch& s, const Region& r, F&& fn) {
  int64_t tile = 0;
  for (int64_t row = 0; row <= s.last_row - s.first_row; ++row) {
    for (int64_t col = 0; col <= s.last_col - s.first_col; ++col, ++tile) {
      fn(tile, (row * r.width + col) * t.step);
    }
  }
}

/// to[product][tile][channel] of the channels [begin, end) and `count` tiles from `first` on, zero outside the image.
/// Products are product_step apart, tiles `pitch`; channels that only fill up the last vector are zero.
template <class Transform, class T>
void transform_tiles(const Tiling& t, const T* planes, const T* last, int64_t begin, int64_t end, int64_t first,
                     int64_t count, int64_t pitch, int64_t product_step, T* pixels, T* to) {
  for (int64_t c = begin; c < end; c += kLanes<T>) {
    for_each_stretch<T>(t, first, count, [&](const Stretch& stretch, int64_t at) {
      const Region region(t, stretch, Transform::kFrom);
      planes_to_pixels(t, region, planes + stretch.image * t.image_step + c * t.plane(),
                       std::min<int64_t>(kLanes<T>, end - c), last, pixels);
      for_each_tile(t, stretch, region, [&](int64_t tile, int64_t pixel) {
        transform_tile<Transform>(pixels + pixel * kLanes<T>, {region.width * kLanes<T>, kLanes<T>},
                                  to + (at + tile) * pitch + c, {Transform::kTo * product_step, product_step});
      });
    });
  }
}

/// The outputs of one vector of filters and `count` tiles from `first` on from their products, which are
/// product_step apart, those of neighbouring tiles `pitch`.
template <class Transform, class T>
void write_tiles(const Tiling& t, const T* products, int64_t pitch, int64_t product_step, int64_t first, int64_t count,
                 const ConvEpilogue<T>& epilogue, int64_t lanes, T* pixels, T* planes) {
  const auto epilogues = filter_epilogues(epilogue, lanes);
  for_each_stretch<T>(t, first, count, [&](const Stretch& stretch, int64_t at) {
    const Region region(t, stretch, Transform::kTo);
    for_each_tile(t, stretch, region, [&](int64_t tile, int64_t pixel) {
      transform_tile<Transform>(products + (at + tile) * pitch, {Transform::kFrom * product_step, product_step},
                                pixels + pixel * kLanes<T>, {region.width * kLanes<T>, kLanes<T>});
    });
    pixels_to_planes(t, region, pixels, epilogues.data(), lanes, stretch.image, planes);
  });
}

}  // namespace cnnx::CNNX_ISA::winograd
