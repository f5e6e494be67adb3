// Winograd's filters: transforming weights, and the gradient of weights from sums of products.
#pragma once

#include <algorithm>

#include "ops/conv2d/winograd.h"
#include "ops/shuffle.h"
#include "rounding.h"

namespace cnnx::CNNX_ISA::winograd {

/// taps[i][lane] = from[lane * step + i]. Whole vectors are read where that stays before `last`.
template <int kTaps, class T>
void load_taps(const T* from, int64_t step, int64_t lanes, const T* last, T* taps) {
  for (int first = 0; first < kTaps; first += kLanes<T>) {
    const int count = std::min(kLanes<T>, kTaps - first);
    Vector<T> block[kLanes<T>];
    if (lanes == kLanes<T> && last - from >= (lanes - 1) * step + first + kLanes<T>) {
#pragma GCC unroll 16
      for (int l = 0; l < kLanes<T>; ++l) block[l] = load(from + l * step + first);
    } else {
      std::fill(block, block + kLanes<T>, Vector<T>{});
      for (int64_t l = 0; l < lanes; ++l) {
        std::memcpy(&block[l], from + l * step + first, static_cast<size_t>(count) * sizeof(T));
      }
    }
    transpose<T>(block);
    for (int i = 0; i < count; ++i) store(block[i], taps + (first + i) * kLanes<T>);
  }
}

/// The inverse for neighbouring filters: to[lane * kTaps + i] = taps[i][lane].
template <int kTaps, class T>
void store_taps(const T* taps, int64_t lanes, T* to) {
  constexpr int kBlocks = static_cast<int>(ceil_div(kTaps, kLanes<T>));
  Vector<T> blocks[kBlocks][kLanes<T>];
#pragma GCC unroll 16
  for (int i = 0; i < kBlocks * kLanes<T>; ++i) {
    blocks[i / kLanes<T>][i % kLanes<T>] = i < kTaps ? load(taps + i * kLanes<T>) : Vector<T>{};
  }
  for (auto& block : blocks) transpose<T>(block);
  for (int64_t l = 0; l < lanes; ++l) {
    for (int b = 0; b < kBlocks; ++b) {
      const int64_t at = l * kTaps + b * kLanes<T>, count = std::min<int64_t>(kLanes<T>, kTaps - b * kLanes<T>);
      if (at + kLanes<T> <= lanes * kTaps) {  // what is written past the filter is overwritten with the next one
        store(blocks[b][l], to + at);
      } else {
        std::memcpy(to + at, &blocks[b][l], static_cast<size_t>(count) * sizeof(T));
      }
    }
  }
}

/// u[product][channel][filter] of `lanes` filters; products are product_step apart, channels `pitch`.
template <class Form, class T>
void transform_filters(const T* w, int64_t filter_step, int64_t lanes, int64_t channels, int64_t channel_step,
                       bool is_flipped, const T* last, int64_t pitch, int64_t product_step, T* u) {
  constexpr int64_t kStep = kLanes<T>, kRow = Form::kFilter * kStep, kLast = (Form::kTaps - 1) * kStep;
  T taps[kLast + kStep];
  for (int64_t c = 0; c < channels; ++c) {
    load_taps<Form::kTaps>(w + c * channel_step, filter_step, lanes, last, taps);
    transform_tile<typename Form::Filter>(is_flipped ? taps + kLast : taps,
                                          is_flipped ? TileSteps{-kRow, -kStep} : TileSteps{kRow, kStep}, u + c * pitch,
                                          {Form::kTile * product_step, product_step});
  }
}

}  // namespace cnnx::CNNX_ISA::winograd
