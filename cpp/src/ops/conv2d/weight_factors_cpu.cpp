// The factors of a weight's gradient: transposes of the output's gradient and of image patches, a run of channels at a
// time.
#include "ops/conv2d/weight_factors.h"

#include "kernels.h"
#include "ops/conv2d/patch_rows.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

constexpr int64_t kRun = 16;  // channels: what fills vectors of patches

template <class T>
PatchRows<T> patch_rows(const Conv2dGeometry& g) {
  return {g, std::min(kRun, g.in_channels), g.output_plane()};
}

bool accepts(const Conv2dGeometry& g) { return g.groups == 1 && is_worth_copying(padded_input(g)); }

template <class T>
int64_t workspace_bytes(const Conv2dGeometry& g) {
  return g.threads * patch_rows<T>(g).workspace_values() * static_cast<int64_t>(sizeof(T));
}

template <class T>
void factors(const Conv2dGeometry& g, const T* x, const T* gy, T* left, T* right, void* workspace) {
  const PatchRows<T> patches = patch_rows<T>(g);
  const int64_t taps = g.h.kernel * g.w.kernel, plane = g.output_plane(), filter = g.filter_size();
  const int64_t in_runs = ceil_div(g.in_channels, kRun), out_runs = ceil_div(g.out_channels, kRun);
  parallel_slots(g.batch * (in_runs + out_runs), g.threads, [&](int64_t task, int slot) {
    const int64_t n = task / (in_runs + out_runs), run = task % (in_runs + out_runs);
    if (run >= in_runs) {
      const int64_t k = (run - in_runs) * kRun;
      transpose_matrix(std::min(kRun, g.out_channels - k), plane, gy + (n * g.out_channels + k) * plane, plane,
                       left + n * plane * g.out_channels + k, g.out_channels);
      return;
    }
    const int64_t c = run * kRun;
    PatchRows<T> mine = patches;
    mine.begin(std::min(kRun, g.in_channels - c), 0, 1, x + (n * g.in_channels + c) * g.input_plane(),
               static_cast<T*>(workspace) + slot * patches.workspace_values());
    mine.write(0, right + n * plane * filter + c * taps, filter);
  });
}

template <class T>
constexpr WeightFactorsKernels<T> kTable{accepts, workspace_bytes<T>, factors<T>};

}  // namespace

template <>
const WeightFactorsKernels<float>& table() {
  return kTable<float>;
}
template <>
const WeightFactorsKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
