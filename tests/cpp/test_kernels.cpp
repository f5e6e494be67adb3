// Kernel tables called bare: every convolution algorithm against a naive table of the same type.
#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "ops/conv2d/conv2d.h"
#include "storage.h"

namespace {

using cnnx::Conv2dGeometry;

/// The definition, as a table like the others.
template <class T>
void naive_forward(const Conv2dGeometry& g, const T* x, const T* w, const cnnx::ConvEpilogue<T>& e, T* y, void*) {
  for (int64_t n = 0; n < g.batch; ++n)
    for (int64_t k = 0; k < g.out_channels; ++k)
      for (int64_t oh = 0; oh < g.h.output; ++oh)
        for (int64_t ow = 0; ow < g.w.output; ++ow) {
          double sum = 0;
          for (int64_t c = 0; c < g.group_in(); ++c)
            for (int64_t r = 0; r < g.h.kernel; ++r)
              for (int64_t s = 0; s < g.w.kernel; ++s) {
                const int64_t ih = g.h.start(oh) + r * g.h.dilation, iw = g.w.start(ow) + s * g.w.dilation;
                if (ih < 0 || ih >= g.h.input || iw < 0 || iw >= g.w.input) continue;
                const int64_t channel = k / g.group_out() * g.group_in() + c;
                sum += double{x[((n * g.in_channels + channel) * g.h.input + ih) * g.w.input + iw]} *
                       w[((k * g.group_in() + c) * g.h.kernel + r) * g.w.kernel + s];
              }
          const int64_t at = ((n * g.out_channels + k) * g.h.output + oh) * g.w.output + ow;
          sum = sum * (e.scale ? e.scale[k] : 1) + (e.shift ? e.shift[k] : 0) + (e.residual ? e.residual[at] : 0);
          y[at] = static_cast<T>(e.relu && sum < 0 ? 0 : sum);
        }
}
template <class T>
constexpr cnnx::Conv2dKernels<T> kNaive{.name = "naive", .forward = naive_forward<T>};

std::vector<float> randoms(int64_t count) {
  static std::mt19937 generator(7);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

struct Case {
  cnnx::Shape x, w;
  cnnx::ConvOptions options;
};
const Case kCases[] = {
    {{2, 3, 7, 9}, {4, 3, 3, 3}, {.padding = 1}},
    {{1, 4, 8, 8}, {6, 2, 2, 5}, {.stride = {2, 1}, .padding = {0, 1, 2, 3}, .groups = 2}},
    {{3, 6, 10, 11}, {12, 1, 3, 3}, {.stride = 2, .padding = 1, .dilation = {1, 2}, .groups = 6}},
    {{2, 16, 5, 5}, {8, 16, 1, 1}, {}},
    {{1, 1, 4, 4}, {1, 1, 4, 4}, {.padding = cnnx::Padding::same()}},
};

}  // namespace

TEST_CASE("every convolution algorithm computes the definition, with and without epilogue and prepared weights") {
  for (const Case& c : kCases) {
    Conv2dGeometry g = cnnx::conv2d_geometry(c.x, c.w, c.options);
    const int64_t count = g.batch * g.out_channels * g.output_plane();
    const std::vector<float> x = randoms(c.x.numel()), w = randoms(c.w.numel()), scale = randoms(g.out_channels),
                             shift = randoms(g.out_channels), residual = randoms(count);
    const cnnx::ConvEpilogue<float> epilogues[] = {{},
                                                   {.shift = shift.data()},
                                                   {.shift = shift.data(), .relu = true},
                                                   {scale.data(), shift.data(), residual.data(), false},
                                                   {scale.data(), shift.data(), residual.data(), true}};
    for (const auto& epilogue : epilogues) {
      std::vector<float> expected(static_cast<size_t>(count)), y(expected.size());
      kNaive<float>.forward(g, x.data(), w.data(), epilogue, expected.data(), nullptr);
      for (const auto* algorithm : cnnx::conv2d_algorithms<float>(cnnx::Device())) {
        if (!algorithm->accepts(g, cnnx::ConvPass::kForward)) continue;
        CAPTURE(algorithm->name);
        for (const bool is_prepared : {false, true}) {
          if (is_prepared && !algorithm->prepare) continue;
          g.is_prepared = is_prepared;
          std::vector<float> prepared;
          if (is_prepared) {
            prepared.resize(static_cast<size_t>(algorithm->prepared_values(g)));
            algorithm->prepare(g, w.data(), prepared.data());
          }
          const auto bytes = static_cast<size_t>(algorithm->workspace_bytes(g, cnnx::ConvPass::kForward));
          const cnnx::Workspace workspace(bytes, cnnx::Device());
          algorithm->forward(g, x.data(), is_prepared ? prepared.data() : w.data(), epilogue, y.data(),
                             workspace.data());
          for (size_t i = 0; i < y.size(); ++i) CHECK(y[i] == doctest::Approx(expected[i]).epsilon(1e-4));
        }
        g.is_prepared = false;
      }
    }
  }
}
