// Convolution by cuDNN, whose interface the library of this folder has too: values, what is left to cnnx's own kernels,
// and what is said when a call fails.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <vector>

#include "cnnx/cnnx.h"
#include "kernels.h"
#include "ops/conv2d/conv2d.h"

namespace {

using namespace cnnx;

const Device kCuda{DeviceType::kCuda, 0};
constexpr ConvPass kPasses[] = {ConvPass::kForward, ConvPass::kBackwardInput, ConvPass::kBackwardWeight};

/// cuDNN's files, for all tests of this program: cnnx looks for them once.
class Installation {
 public:
  Installation() {
    char name[] = "/tmp/cnnx-cudnn-XXXXXX";
    folder_ = mkdtemp(name);
    for (const char* part :
         {"", "_graph", "_ops", "_cnn", "_heuristic", "_engines_precompiled", "_engines_runtime_compiled"}) {
      std::filesystem::create_symlink(CNNX_CUDA_HOST_LIBRARY, folder_ / (std::string("libcudnn") + part + ".so.9"));
    }
    setenv("CNNX_CUDA_LIBRARY", CNNX_CUDA_HOST_LIBRARY, 1);
    setenv("CNNX_CUDNN", (folder_ / "libcudnn.so.9").c_str(), 1);
  }
  ~Installation() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

 private:
  std::filesystem::path folder_;
};
const Installation installation;

struct Failing {
  explicit Failing(const char* call) { setenv("CNNX_CUDNN_HOST_FAIL", call, 1); }
  ~Failing() { unsetenv("CNNX_CUDNN_HOST_FAIL"); }
};

template <class T>
std::vector<T> randoms(int64_t count, bool is_tf32) {
  static std::mt19937 generator(3);
  std::normal_distribution<T> normal;
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) {
    value = normal(generator);
    if constexpr (std::is_same_v<T, float>) {  // exact in TF32, so that products are the same rounded or not
      if (is_tf32) value = std::bit_cast<float>(std::bit_cast<uint32_t>(value) & 0xffffe000u);
    }
  }
  return values;
}

template <class T>
double distance(const std::vector<T>& a, const std::vector<T>& b) {
  double most = 0, largest = 1;
  for (size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::isnan(b[i]) ? INFINITY : std::abs(static_cast<double>(a[i] - b[i])));
    largest = std::max(largest, std::abs(static_cast<double>(a[i])));
  }
  return most / largest;
}

/// All passes by cuDNN against the CPU's, relative to the largest value.
template <class T>
double distance(const Shape& x_shape, const Shape& w_shape, const ConvOptions& options, Precision precision,
                bool is_tf32) {
  Conv2dGeometry g = conv2d_geometry(x_shape, w_shape, options);
  const int64_t output = g.batch * g.out_channels * g.output_plane();
  const auto x = randoms<T>(x_shape.numel(), is_tf32), w = randoms<T>(w_shape.numel(), is_tf32),
             gy = randoms<T>(output, is_tf32), residual = randoms<T>(output, false),
             scale = randoms<T>(g.out_channels, false), shift = randoms<T>(g.out_channels, false);
  const auto run = [&](const Conv2dKernels<T>& k) {
    const auto fresh = [](int64_t n) { return std::vector<T>(static_cast<size_t>(n), static_cast<T>(NAN)); };
    std::vector<std::vector<T>> out{fresh(output), fresh(output), fresh(x_shape.numel()), fresh(w_shape.numel())};
    std::vector<char> space[3];
    for (const ConvPass pass : kPasses) {
      REQUIRE(k.accepts(g, pass));
      space[static_cast<int>(pass)].resize(static_cast<size_t>(k.workspace_bytes(g, pass)));
    }
    k.forward(g, x.data(), w.data(), {}, out[0].data(), space[0].data());
    k.forward(g, x.data(), w.data(), {scale.data(), shift.data(), residual.data(), true}, out[1].data(),
              space[0].data());
    k.backward_input(g, gy.data(), w.data(), out[2].data(), space[1].data());
    k.backward_weight(g, x.data(), gy.data(), out[3].data(), space[2].data());
    return out;
  };
  const auto expected = run(cpu_kernels<Im2colConv2d<T>>());
  g.precision = precision;
  const auto got = run(cuda_kernels<CudnnConv2d<T>>(kCuda));
  double most = 0;
  for (size_t i = 0; i < got.size(); ++i) most = std::max(most, distance(expected[i], got[i]));
  return most;
}

struct Case {
  Shape x, w;
  ConvOptions options;
};
const Case kCases[] = {
    {{2, 3, 8, 9}, {5, 3, 3, 3}, {.padding = 1}},
    {{2, 3, 8, 9}, {5, 3, 2, 3}, {.stride = {2, 3}, .padding = {1, 1, 2, 2}, .dilation = {3, 1}}},
    {{1, 4, 8, 8}, {6, 2, 2, 5}, {.stride = {2, 1}, .groups = 2}},
    {{3, 6, 10, 11}, {12, 1, 3, 3}, {.stride = 2, .padding = 1, .dilation = {1, 2}, .groups = 6}},
    {{2, 9, 5, 4}, {7, 9, 1, 1}, {}},
    {{2, 9, 5, 4}, {7, 9, 1, 1}, {.stride = 3}},
    {{1, 1, 4, 4}, {1, 1, 4, 4}, {}},
    {{1, 2, 3, 3}, {2, 2, 7, 7}, {.padding = 4}},
};

Conv2dGeometry geometry(const Shape& x, const Shape& w, const ConvOptions& options, Precision precision = {}) {
  Conv2dGeometry g = conv2d_geometry(x, w, options);
  g.precision = precision;
  return g;
}
std::string chosen(const Conv2dGeometry& g, Device device = kCuda) {
  std::string names;
  for (const ConvPass pass : kPasses) {
    const std::string name = choose_conv2d<float>(g, pass, device).name;
    if (name != names) names += name;
  }
  return names;
}

TEST_CASE("cuDNN computes the passes, in the precision that was asked for") {
  CHECK(cudnn_version() == 91300);
  for (const Case& c : kCases) {
    CAPTURE(c.x.str());
    CAPTURE(c.w.str());
    CHECK(distance<float>(c.x, c.w, c.options, Precision::kFull, false) < 2e-6);
    CHECK(distance<double>(c.x, c.w, c.options, Precision::kFull, false) < 1e-13);
    CHECK(distance<float>(c.x, c.w, c.options, Precision::kTF32, true) < 2e-6);
    CHECK(distance<float>(c.x, c.w, c.options, Precision::kTF32, false) < 1e-2);
  }
  const Case& first = kCases[0];  // of which a full one is remembered
  CHECK(distance<float>(first.x, first.w, first.options, Precision::kTF32, false) > 2e-5);
}

TEST_CASE("cuDNN takes what it can, cnnx's own kernels the rest") {
  const Shape x{2, 3, 8, 9}, w{5, 3, 3, 3};
  CHECK(chosen(geometry(x, w, {.padding = 1})) == "cudnn");
  CHECK(chosen(geometry(x, w, {.padding = 1}, Precision::kTF32)) == "cudnn");
  CHECK(chosen(geometry(x, w, {.padding = 1}, Precision::kBFloat16)) == "implicit_gemm");
  CHECK(chosen(geometry(x, w, {.padding = 1}, Precision::kFloat16)) == "implicit_gemm");
  CHECK(chosen(geometry(x, w, {.padding = {0, 1, 1, 1}})) == "implicit_gemm");
  CHECK(chosen(geometry({2, 3, 9, 9}, w, {.stride = 2, .padding = {0, 1, 0, 0}})) == "cudnn");  // reads no padding
  CHECK(chosen(geometry({2, 3, 8, 9}, w, {.stride = 2, .fit = Fit::kCeil})) == "implicit_gemm");
  CHECK(chosen(geometry({0, 3, 8, 9}, w, {})) == "implicit_gemm");
  CHECK(chosen(geometry({2, 6, 8, 9}, {6, 1, 3, 3}, {.groups = 6})) == "direct");
  CHECK(chosen(geometry({1 << 20, 3, 32, 32}, w, {.padding = 1})) == "implicit_gemm");  // 2^31 values and more
}

TEST_CASE("more geometries than are remembered") {
  const auto bytes = [](int64_t height) {
    const Conv2dGeometry g = conv2d_geometry({1, 2, height, 3}, {2, 2, 3, 3}, {});
    const auto& k = cuda_kernels<CudnnConv2d<float>>(kCuda);
    return k.accepts(g, ConvPass::kForward) ? k.workspace_bytes(g, ConvPass::kForward) : -1;
  };
  const int64_t before = bytes(3);
  for (int64_t height = 4; height < 1300; ++height) REQUIRE(bytes(height) > before);
  CHECK(bytes(3) == before);
}

TEST_CASE("cuDNN keeps within the limit of workspaces") {
  const auto& k = cuda_kernels<CudnnConv2d<float>>(kCuda);
  const auto bytes = [&](ConvPass pass, int64_t limit) {
    Conv2dGeometry g = geometry({1, 2, 7, 9}, {3, 2, 2, 2}, {});
    g.workspace_limit = limit;
    return k.accepts(g, pass) ? k.workspace_bytes(g, pass) : -1;
  };
  const int64_t most = bytes(ConvPass::kForward, kNoWorkspaceLimit),
                gradient = bytes(ConvPass::kBackwardInput, INT64_MAX);
  CHECK(most > 3);
  CHECK(bytes(ConvPass::kForward, most) == most);
  CHECK(bytes(ConvPass::kForward, most - 1) == 3);  // the next algorithm that fits
  CHECK(bytes(ConvPass::kForward, 2) == -1);
  CHECK(bytes(ConvPass::kForward, kNoWorkspaceLimit) == most);
  CHECK(bytes(ConvPass::kBackwardInput, gradient) == gradient);
  CHECK(bytes(ConvPass::kBackwardInput, gradient - 1) == -1);

  const Tensor x = ones({1, 2, 7, 9}, {.device = kCuda}), w = ones({3, 2, 2, 2}, {.device = kCuda});
  for (const int64_t limit : {most, int64_t{3}, int64_t{2}}) {
    set_workspace_limit(limit);
    CHECK(conv2d(x, w, {}, {}).to(Device()).data<float>()[0] == 8);
    const Failing failing("run");  // shows which one runs
    if (limit == 2) {
      conv2d(x, w, {}, {});
    } else {
      CHECK_THROWS_AS(conv2d(x, w, {}, {}), CudaError);
    }
  }
  set_workspace_limit(kNoWorkspaceLimit);
}

TEST_CASE("an error of cuDNN's is an error that says how to do without") {
  const Tensor x = ones({1, 2, 5, 6}, {.device = kCuda}), w = ones({3, 2, 2, 2}, {.device = kCuda});
  {
    const Failing failing("find");
    CHECK_THROWS_WITH_AS(conv2d(x, w, {}, {}),
                         "[conv2d] cuDNN's choice of a forward algorithm failed: CUDNN_STATUS_EXECUTION_FAILED (status "
                         "5000). CNNX_CUDNN=0 does without cuDNN.",
                         CudaError);
  }
  CHECK(conv2d(x, w, {}, {}).to(Device()).data<float>()[0] == 8);
  {
    const Failing failing("run");
    CHECK_THROWS_WITH_AS(conv2d(x, w, {}, {}),
                         "[conv2d] cuDNN's forward pass failed: CUDNN_STATUS_EXECUTION_FAILED (status 5000). "
                         "CNNX_CUDNN=0 does without cuDNN.",
                         CudaError);
  }
  CHECK(conv2d(x, w, {}, {}).to(Device()).data<float>()[0] == 8);
  const Failing failing("support");
  CHECK(chosen(geometry({1, 2, 7, 6}, {3, 2, 2, 2}, {})) == "implicit_gemm");
}

TEST_CASE("cuDNN is initialised before a graph is captured, or not used in it") {
  const Device other{DeviceType::kCuda, 1};
  const Conv2dGeometry g = geometry({1, 2, 5, 6}, {3, 2, 2, 2}, {});
  {
    const Failing failing("create");
    CudaGraph graph(other);
    graph.begin();
    CHECK(chosen(g, other) == "implicit_gemm");
    graph.end();
  }
  CudaGraph again(other);
  again.begin();
  CHECK(chosen(g, other) == "cudnn");
  again.end();
}

}  // namespace
