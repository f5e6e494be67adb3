// The locally connected layer on the CPU: at every output position a linear layer over the position's window, on the
// kernels of linear. What bounds the speed is reading the weights, which are read once for up to kImages images.
//
// Positions are taken kRun at a time along an output row, so that outputs, which lie a plane apart, are moved in runs.
// In backward_input windows overlap: the rows of the output are cut into bands so high that a band and the one after
// the next touch different rows of the image; the even bands run side by side, then the odd ones.
#include "ops/locally_connected2d.h"

#include "kernels.h"
#include "ops/linear.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

constexpr int64_t kRun = 16;
constexpr int64_t kImages = 32;  // linear's kernels read the weights as they lie up to this many rows

/// Some images [first, first + count) of the batch.
struct Images {
  int64_t first;
  int64_t count;
};
Images image_block(const Conv2dGeometry& g, int64_t block) {
  return {block * kImages, std::min(kImages, g.batch - block * kImages)};
}

/// Calls fn(offset into the image batch, offset into the windows, taps, first tap inside, last) for each row of each
/// window at (oh, ow). The offset into the images is that of tap 0; no tap is inside where the row is not.
template <class F>
void for_each_row(const Conv2dGeometry& g, Images images, int64_t oh, int64_t ow, F fn) {
  const int64_t iw = g.w.start(ow), step = g.w.dilation, S = g.w.kernel;
  const int64_t left = iw >= 0 ? 0 : std::min(S, ceil_div(-iw, step));
  const int64_t right = iw >= g.w.input ? left : std::clamp(ceil_div(g.w.input - iw, step), left, S);
  int64_t row = 0;
  for (int64_t plane = images.first * g.in_channels; plane < (images.first + images.count) * g.in_channels; ++plane) {
    for (int64_t r = 0; r < g.h.kernel; ++r, ++row) {
      const int64_t ih = g.h.start(oh) + r * g.h.dilation;
      const bool inside = ih >= 0 && ih < g.h.input;
      fn((plane * g.h.input + ih) * g.w.input + iw, row * S, inside ? left : 0, inside ? right : 0);
    }
  }
}

/// windows (images, C, R, S) at one position.
template <class T>
void gather(const Conv2dGeometry& g, Images images, int64_t oh, int64_t ow, const T* x, T* windows) {
  const int64_t step = g.w.dilation, S = g.w.kernel;
  for_each_row(g, images, oh, ow, [=](int64_t from, int64_t to, int64_t first, int64_t last) {
    for (int64_t s = 0; s < first; ++s) windows[to + s] = T(0);
    for (int64_t s = first; s < last; ++s) windows[to + s] = x[from + s * step];
    for (int64_t s = last; s < S; ++s) windows[to + s] = T(0);
  });
}

template <class T>
void scatter_add(const Conv2dGeometry& g, Images images, int64_t oh, int64_t ow, const T* windows, T* x) {
  const int64_t step = g.w.dilation;
  for_each_row(g, images, oh, ow, [=](int64_t from, int64_t to, int64_t first, int64_t last) {
    for (int64_t s = first; s < last; ++s) x[from + s * step] += windows[to + s];
  });
}

/// to (run, images, K) from the positions [at, at + run) of gy (N, K, OH, OW).
template <class T>
void gather_outputs(const Conv2dGeometry& g, Images images, int64_t at, int64_t run, const T* gy, T* to) {
  const int64_t count = images.count * g.out_channels, plane = g.output_plane();
  const T* from = gy + images.first * g.out_channels * plane + at;
  for (int64_t j = 0; j < count; ++j) {
    for (int64_t i = 0; i < run; ++i) to[i * count + j] = from[j * plane + i];
  }
}

/// Values of one slot: the windows of one position, and the outputs of a run.
int64_t slot_values(const Conv2dGeometry& g, int64_t images) {
  return round_up(images * (g.filter_size() + kRun * g.out_channels), 16);
}
int64_t images_at_a_time(const Conv2dGeometry& g, ConvPass pass) {
  return pass == ConvPass::kBackwardWeight ? g.batch : std::min(g.batch, kImages);
}

template <class T>
int64_t workspace_bytes(const Conv2dGeometry& g, ConvPass pass) {
  return g.threads * slot_values(g, images_at_a_time(g, pass)) * static_cast<int64_t>(sizeof(T));
}

/// Calls fn(block of images, oh, ow, run, windows, outputs) for all runs of positions.
template <class T, class F>
void for_each_run(const Conv2dGeometry& g, int64_t blocks, int64_t images, void* workspace, F fn) {
  const int64_t runs = ceil_div(g.w.output, kRun), slot_size = slot_values(g, images);
  parallel_slots(blocks * g.h.output * runs, g.threads, [&](int64_t unit, int slot) {
    T* const windows = static_cast<T*>(workspace) + slot * slot_size;
    const int64_t ow = unit % runs * kRun;
    fn(unit / runs / g.h.output, unit / runs % g.h.output, ow, std::min(kRun, g.w.output - ow), windows,
       windows + images * g.filter_size());
  });
}

template <class T>
void forward(const Conv2dGeometry& g, const T* x, const T* w, const T* b, T* y, void* workspace) {
  const auto& linear = table<LinearKernels<T>>();
  const int64_t K = g.out_channels, CRS = g.filter_size(), plane = g.output_plane();
  for_each_run<T>(g, ceil_div(g.batch, kImages), images_at_a_time(g, ConvPass::kForward), workspace,
                  [&](int64_t block, int64_t oh, int64_t ow, int64_t run, T* windows, T* outputs) {
                    const Images images = image_block(g, block);
                    const int64_t at = oh * g.w.output + ow, count = images.count * K;
                    for (int64_t i = 0; i < run; ++i) {
                      gather(g, images, oh, ow + i, x, windows);
                      linear.forward({images.count, CRS, K}, windows, w + (at + i) * K * CRS, nullptr,
                                     outputs + i * count);
                    }
                    T* const to = y + images.first * K * plane + at;
                    for (int64_t j = 0; j < count; ++j) {
                      const T* const shift = b ? b + j % K * plane + at : nullptr;
                      for (int64_t i = 0; i < run; ++i) {
                        to[j * plane + i] = outputs[i * count + j] + (shift ? shift[i] : T(0));
                      }
                    }
                  });
}

template <class T>
void backward_input(const Conv2dGeometry& g, const T* gy, const T* w, T* gx, void* workspace) {
  const auto& linear = table<LinearKernels<T>>();
  const int64_t K = g.out_channels, CRS = g.filter_size(), most = images_at_a_time(g, ConvPass::kBackwardInput);
  const int64_t band = std::max<int64_t>(1, ceil_div(g.h.extent(), g.h.stride) - 1);
  const int64_t bands = ceil_div(g.h.output, band), blocks = ceil_div(g.batch, kImages);
  parallel_for(g.batch * g.in_channels, item_grain(g.input_plane()), [&](int64_t begin, int64_t end) {
    std::fill(gx + begin * g.input_plane(), gx + end * g.input_plane(), T(0));
  });
  for (int64_t parity = 0; parity < 2; ++parity) {
    const int64_t count = (bands + 1 - parity) / 2;
    parallel_slots(blocks * count, g.threads, [&](int64_t unit, int slot) {
      const Images images = image_block(g, unit / count);
      T* const windows = static_cast<T*>(workspace) + slot * slot_values(g, most);
      T* const outputs = windows + most * CRS;
      const int64_t top = (unit % count * 2 + parity) * band;
      for (int64_t oh = top; oh < std::min(g.h.output, top + band); ++oh) {
        for (int64_t ow = 0; ow < g.w.output; ow += kRun) {
          const int64_t at = oh * g.w.output + ow, run = std::min(kRun, g.w.output - ow);
          gather_outputs(g, images, at, run, gy, outputs);
          for (int64_t i = 0; i < run; ++i) {
            linear.backward_input({images.count, CRS, K}, outputs + i * images.count * K, w + (at + i) * K * CRS,
                                  windows);
            scatter_add(g, images, oh, ow + i, windows, gx);
          }
        }
      }
    });
  }
}

template <class T>
void backward_weight(const Conv2dGeometry& g, const T* x, const T* gy, T* gw, void* workspace) {
  const auto& linear = table<LinearKernels<T>>();
  const int64_t K = g.out_channels, CRS = g.filter_size();
  const Images all{0, g.batch};
  for_each_run<T>(g, 1, g.batch, workspace, [&](int64_t, int64_t oh, int64_t ow, int64_t run, T* windows, T* outputs) {
    const int64_t at = oh * g.w.output + ow;
    gather_outputs(g, all, at, run, gy, outputs);
    for (int64_t i = 0; i < run; ++i) {
      gather(g, all, oh, ow + i, x, windows);
      linear.backward_weight({g.batch, CRS, K}, windows, outputs + i * g.batch * K, gw + (at + i) * K * CRS);
    }
  });
}

template <class T>
constexpr LocallyConnectedKernels<T> kTable{workspace_bytes<T>, forward<T>, backward_input<T>, backward_weight<T>};

}  // namespace

template <>
const LocallyConnectedKernels<float>& table() {
  return kTable<float>;
}
template <>
const LocallyConnectedKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
