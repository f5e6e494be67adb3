// Tensor cores' kernels against the CPU's on factors that were rounded before, by wgmma and by mma.sync, in both orders
// of threads.
//
// Buffers have their own sizes, so that the address sanitizer sees what is read or written behind their ends.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <random>
#include <vector>

#include "cnnx/tensor_cores.h"
#include "kernels.h"
#include "ops/conv2d/conv2d.h"
#include "ops/linear.h"
#include "ops/matmul.h"
#include "ops/optimizer.h"

namespace {

using namespace cnnx;

/// One with wgmma and one without: the library asks for their capabilities when they first multiply.
const Device kHopper{DeviceType::kCuda, 0}, kAmpere{DeviceType::kCuda, 1};
[[maybe_unused]] const int kCapabilities = setenv("CNNX_CUDA_HOST_CAPABILITIES", "9.0,8.0", 1);
using Values = std::vector<float>;

Values randoms(int64_t count) {
  static std::mt19937 generator(11);
  std::normal_distribution<float> normal;
  Values values(static_cast<size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

/// To `digits` significant bits; normal numbers.
float rounded(float value, Precision precision) {
  int exponent = 0;
  const int digits = precision == Precision::kBFloat16 ? 8 : 11;
  const double scaled = std::ldexp(std::frexp(static_cast<double>(value), &exponent), digits);
  const double whole = precision == Precision::kTF32 ? std::round(scaled) : std::nearbyint(scaled);
  return static_cast<float>(std::ldexp(whole, exponent - digits));
}
Values rounded(Values values, Precision precision) {
  for (float& value : values) value = rounded(value, precision);
  return values;
}

void check_close(const Values& expected, const Values& got) {
  REQUIRE(expected.size() == got.size());
  float largest = 1;
  for (const float value : expected) largest = std::max(largest, std::abs(value));
  size_t wrong = 0;
  for (size_t i = 0; i < got.size(); ++i) wrong += !(std::abs(expected[i] - got[i]) <= 4e-6f * largest);
  CHECK(wrong == 0);
}

/// run(device) with the first and with the last thread first.
template <class F>
void on_both_devices(F run) {
  setenv("CNNX_CUDA_LIBRARY", CNNX_CUDA_HOST_LIBRARY, 1);
  for (const Device device : {kHopper, kAmpere}) {
    for (const char* order : {"forward", "reverse"}) {
      setenv("CNNX_CUDA_HOST_ORDER", order, 1);
      CAPTURE(device.index);
      CAPTURE(order);
      run(device);
    }
  }
}

Values fresh(int64_t count) { return Values(static_cast<size_t>(count), NAN); }

template <class Algorithm = ImplicitGemmConv2d<float>>
void check_conv(const Shape& x_shape, const Shape& w_shape, const ConvOptions& options, Precision precision) {
  Conv2dGeometry g = conv2d_geometry(x_shape, w_shape, options);
  const Values x = randoms(x_shape.numel()), w = randoms(w_shape.numel()),
               gy = randoms(g.batch * g.out_channels * g.output_plane()),
               residual = randoms(static_cast<int64_t>(gy.size())), scale = randoms(g.out_channels),
               shift = randoms(g.out_channels);
  const auto run = [&](const Conv2dKernels<float>& k, const Values& a, const Values& b, const Values& c) {
    std::vector<Values> out{fresh(static_cast<int64_t>(gy.size())), fresh(static_cast<int64_t>(gy.size())),
                            fresh(x_shape.numel()), fresh(w_shape.numel())};
    const auto space = [&](ConvPass pass) {
      return std::vector<char>(static_cast<size_t>(k.workspace_bytes(g, pass)));
    };
    auto workspace = space(ConvPass::kForward);
    k.forward(g, a.data(), b.data(), {}, out[0].data(), workspace.data());
    k.forward(g, a.data(), b.data(), {scale.data(), shift.data(), residual.data(), true}, out[1].data(),
              workspace.data());
    workspace = space(ConvPass::kBackwardInput);
    k.backward_input(g, c.data(), b.data(), out[2].data(), workspace.data());
    workspace = space(ConvPass::kBackwardWeight);
    k.backward_weight(g, a.data(), c.data(), out[3].data(), workspace.data());
    return out;
  };
  const auto expected =
      run(cpu_kernels<Im2colConv2d<float>>(), rounded(x, precision), rounded(w, precision), rounded(gy, precision));
  g.precision = precision;
  CAPTURE(x_shape.str());
  CAPTURE(w_shape.str());
  on_both_devices([&](Device device) {
    const auto got = run(cuda_kernels<Algorithm>(device), x, w, gy);
    for (size_t i = 0; i < got.size(); ++i) {
      CAPTURE(i);
      check_close(expected[i], got[i]);
    }
  });
}

constexpr Precision kPrecisions[] = {Precision::kTF32, Precision::kBFloat16, Precision::kFloat16};

}  // namespace

TEST_CASE("which instructions devices use") {
  setenv("CNNX_CUDA_LIBRARY", CNNX_CUDA_HOST_LIBRARY, 1);
  CHECK(cuda_tensor_cores(kHopper) == "wgmma");
  CHECK(cuda_tensor_cores(kAmpere) == "mma.sync");
}

TEST_CASE("convolution on tensor cores") {
  for (const Precision precision : kPrecisions) {
    check_conv({2, 3, 8, 9}, {5, 3, 3, 3}, {.padding = 1}, precision);
    check_conv({2, 3, 8, 9}, {5, 3, 2, 3}, {.stride = {2, 3}, .padding = 1, .dilation = {3, 1}}, precision);
    check_conv({1, 4, 8, 8}, {6, 2, 2, 5}, {.stride = {2, 1}, .padding = {0, 1, 2, 3}, .groups = 2}, precision);
    check_conv({3, 6, 10, 11}, {12, 1, 3, 3}, {.stride = 2, .padding = 1, .dilation = {1, 2}, .groups = 6}, precision);
    check_conv({3, 16, 1, 1}, {8, 16, 1, 1}, {}, precision);                // every position is an image's last
    check_conv({2, 9, 5, 4}, {70, 9, 1, 1}, {}, precision);                 // channels that are not whole chunks
    check_conv({1, 8, 20, 20}, {130, 8, 3, 3}, {.padding = 1}, precision);  // large tiles
    check_conv({1, 130, 6, 5}, {8, 130, 3, 3}, {.padding = 1}, precision);
  }
}

TEST_CASE("direct convolution rounds its factors as well") {
  for (const Precision precision : kPrecisions) {
    check_conv<DirectConv2d<float>>({2, 3, 8, 9}, {6, 1, 3, 2}, {.stride = {2, 1}, .padding = 1, .groups = 3},
                                    precision);
    check_conv<DirectConv2d<float>>({1, 5, 90, 70}, {5, 1, 3, 3}, {.dilation = {1, 2}, .groups = 5}, precision);
  }
}

TEST_CASE("products on tensor cores") {
  for (const Precision precision : kPrecisions) {
    for (const auto& [m, n, k] :
         {std::array<int64_t, 3>{1, 1, 1}, {5, 7, 3}, {33, 70, 41}, {130, 140, 170}, {3, 5, 700}}) {
      const Values a = randoms(2 * m * k), b = randoms(2 * k * n), bias = randoms(n);
      const Values ra = rounded(a, precision), rb = rounded(b, precision);
      for (const auto& [ta, tb] : {std::pair(false, false), {true, false}, {false, true}}) {
        MatmulGeometry g{2, m, n, k, ta, tb, m * k, k * n};
        Values expected = fresh(2 * m * n), got = expected;
        cpu_kernels<MatmulKernels<float>>().forward(g, ra.data(), rb.data(), expected.data());
        g.precision = precision;
        on_both_devices([&](Device device) {
          cuda_kernels<MatmulKernels<float>>(device).forward(g, a.data(), b.data(), got.data());
          check_close(expected, got);
        });
      }
      LinearGeometry g{m, k, n};
      Values expected = fresh(m * n), got = expected;
      cpu_kernels<LinearKernels<float>>().forward(g, ra.data(), rb.data(), bias.data(), expected.data());
      g.precision = precision;
      on_both_devices([&](Device device) {
        cuda_kernels<LinearKernels<float>>(device).forward(g, a.data(), b.data(), bias.data(), got.data());
        check_close(expected, got);
      });
    }
  }
}

TEST_CASE("gradients are unscaled, and found infinite") {
  for (const float bad : {1.0f, INFINITY, -INFINITY, NAN}) {
    for (const Device device : {Device(), kHopper}) {
      std::vector<Values> gradients(150, Values{2, 4, 6});
      gradients.front() = Values(70001, 8.0f);
      gradients[140][2] = bad;
      int64_t found = 0;
      std::vector<GradientRun<float>> runs;
      for (Values& each : gradients) runs.push_back({each.data(), static_cast<int64_t>(each.size())});
      setenv("CNNX_CUDA_LIBRARY", CNNX_CUDA_HOST_LIBRARY, 1);
      kernels<OptimizerKernels<float>>(device).unscale(runs, 0.5f, &found);
      CHECK(found == (std::isfinite(bad) ? 0 : 1));
      CHECK(gradients.front() == Values(70001, 4.0f));
      CHECK(gradients[149] == Values{1, 2, 3});
    }
  }
}
