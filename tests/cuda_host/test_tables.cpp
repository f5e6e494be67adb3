// Every table of CUDA kernels against the CPU's table of the same type, in both orders of threads.
//
// Each output is a buffer of its own size, so that the address sanitizer sees a write behind its end.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>
#include <string_view>
#include <vector>

#include "kernels.h"
#include "ops/avg_pool2d.h"
#include "ops/batch_norm.h"
#include "ops/binary.h"
#include "ops/conv2d/conv2d.h"
#include "ops/cross_entropy.h"
#include "ops/group_norm.h"
#include "ops/im2col.h"
#include "ops/linear.h"
#include "ops/local_response_norm.h"
#include "ops/locally_connected2d.h"
#include "ops/lp_pool2d.h"
#include "ops/matmul.h"
#include "ops/max_pool2d.h"
#include "ops/multi_margin_loss.h"
#include "ops/optimizer.h"
#include "ops/reduce.h"
#include "ops/shape.h"
#include "ops/softmax.h"

namespace {

using namespace cnnx;

const Device kCpu, kCuda{DeviceType::kCuda, 0};

/// The library of this folder stands in for a GPU.
const bool ready = [] {
  setenv("CNNX_CUDA_LIBRARY", CNNX_CUDA_HOST_LIBRARY, 1);
  return true;
}();

template <class T>
std::vector<T> randoms(int64_t count) {
  static std::mt19937 generator(7);
  std::normal_distribution<T> normal;
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) value = normal(generator);
  return values;
}

template <class T>
using Buffers = std::vector<std::vector<T>>;

template <class T>
bool close(const Buffers<T>& a, const Buffers<T>& b, double tolerance) {
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t j = 0; j < a[i].size(); ++j) {
      const double u = static_cast<double>(a[i][j]), v = static_cast<double>(b[i][j]);
      if (std::isnan(u) && std::isnan(v)) continue;
      if (!(std::abs(u - v) <= tolerance * (1 + std::abs(u)))) return false;
    }
  }
  return true;
}

/// run(kernels, outputs) with the tables of both devices on outputs of these sizes, which start as NaN.
template <class Kernels, class T, class F>
void on_both(const std::vector<int64_t>& sizes, F run, double scale = 1) {
  REQUIRE(ready);
  const auto fresh = [&] {
    Buffers<T> outputs;
    for (const int64_t size : sizes) outputs.emplace_back(static_cast<size_t>(size), static_cast<T>(NAN));
    return outputs;
  };
  Buffers<T> expected = fresh();
  run(kernels<Kernels>(kCpu), expected);
  for (const char* order : {"forward", "reverse"}) {
    setenv("CNNX_CUDA_HOST_ORDER", order, 1);
    Buffers<T> got = fresh();
    run(kernels<Kernels>(kCuda), got);
    CAPTURE(order);
    CHECK(close(expected, got, scale * (sizeof(T) == 4 ? 2e-5 : 1e-11)));
  }
}

// ---- Convolution

struct Case {
  Shape x, w;
  ConvOptions options;
};

std::vector<Case> conv_cases() {
  std::vector<Case> cases;
  for (int64_t k = 1; k <= 3; ++k)
    for (int64_t stride = 1; stride <= 3; ++stride)
      for (int64_t dilation = 1; dilation <= 3; ++dilation)
        for (int64_t padding = 0; padding <= 1; ++padding)
          cases.push_back({{2, 3, 8, 9}, {5, 3, k, k}, {.stride = stride, .padding = padding, .dilation = dilation}});
  cases.insert(cases.end(),
               {{{1, 4, 8, 8}, {6, 2, 2, 5}, {.stride = {2, 1}, .padding = {0, 1, 2, 3}, .groups = 2}},
                {{3, 6, 10, 11}, {12, 1, 3, 3}, {.stride = 2, .padding = 1, .dilation = {1, 2}, .groups = 6}},
                {{2, 16, 5, 5}, {8, 16, 1, 1}, {}},
                {{1, 1, 4, 4}, {1, 1, 4, 4}, {.padding = Padding::same()}},
                {{2, 3, 27, 31}, {7, 3, 11, 11}, {.stride = 4, .padding = 2}},
                {{1, 8, 20, 20}, {130, 8, 3, 3}, {.padding = 1}},  // large tiles
                {{2, 130, 6, 5}, {8, 130, 3, 3}, {.padding = 1}},
                {{3, 4, 1, 17}, {6, 4, 3, 3}, {.padding = 1}},
                {{2, 6, 13, 5}, {4, 3, 3, 3}, {.padding = {0, 2, 1, 0}, .groups = 2}},
                {{5, 3, 4, 14}, {3, 1, 3, 3}, {.padding = 2, .groups = 3}},
                {{2, 2, 1, 2}, {3, 2, 3, 3}, {.padding = {4, 1, 0, 7}}}});
  return cases;
}

template <class T>
void check_algorithm(const Conv2dKernels<T>& k, const Conv2dKernels<T>& reference, const Conv2dGeometry& g) {
  const int64_t input = g.batch * g.in_channels * g.input_plane(), output = g.batch * g.out_channels * g.output_plane();
  const int64_t weights = g.out_channels * g.filter_size();
  const auto x = randoms<T>(input), w = randoms<T>(weights), gy = randoms<T>(output), residual = randoms<T>(output),
             scale = randoms<T>(g.out_channels), shift = randoms<T>(g.out_channels);
  const auto run = [&](const Conv2dKernels<T>& kernels) {
    const auto size = [](int64_t n) { return std::vector<T>(static_cast<size_t>(n), static_cast<T>(NAN)); };
    Buffers<T> out{size(output), size(output), size(input), size(weights), size(g.out_channels)};
    const auto workspace = [&](ConvPass pass) {
      return std::vector<char>(static_cast<size_t>(kernels.workspace_bytes(g, pass)));
    };
    auto space = workspace(ConvPass::kForward);
    kernels.forward(g, x.data(), w.data(), {}, out[0].data(), space.data());
    kernels.forward(g, x.data(), w.data(), {scale.data(), shift.data(), residual.data(), true}, out[1].data(),
                    space.data());
    space = workspace(ConvPass::kBackwardInput);
    kernels.backward_input(g, gy.data(), w.data(), out[2].data(), space.data());
    space = workspace(ConvPass::kBackwardWeight);
    kernels.backward_weight(g, x.data(), gy.data(), out[3].data(), space.data());
    kernels.backward_bias(g, gy.data(), out[4].data());
    return out;
  };
  const Buffers<T> expected = run(reference);
  for (const char* order : {"forward", "reverse"}) {
    setenv("CNNX_CUDA_HOST_ORDER", order, 1);
    CAPTURE(order);
    CHECK(close(expected, run(k), sizeof(T) == 4 ? 1e-3 : 1e-10));
  }
}

/// With as much scratch memory as it likes, then with little, where that makes a difference.
template <class T>
void check_accepted(const Conv2dKernels<T>& k, Conv2dGeometry g) {
  check_algorithm<T>(k, cpu_kernels<Im2colConv2d<T>>(), g);
  const int64_t bytes = k.workspace_bytes(g, ConvPass::kForward);
  g.column_bytes = 64;
  if (k.workspace_bytes(g, ConvPass::kForward) == bytes) return;
  CAPTURE(g.column_bytes);
  check_algorithm<T>(k, cpu_kernels<Im2colConv2d<T>>(), g);
}

template <class T>
void check_conv() {
  for (const Case& c : conv_cases()) {
    const Conv2dGeometry g = conv2d_geometry(c.x, c.w, c.options);
    CAPTURE(c.x.str());
    CAPTURE(c.w.str());
    CAPTURE(c.options.stride.h);
    CAPTURE(c.options.dilation.h);
    for (const auto* algorithm : conv2d_algorithms<T>(kCuda)) {
      CAPTURE(algorithm->name);
      if (algorithm->accepts(g, ConvPass::kForward)) check_accepted(*algorithm, g);
    }
  }
}

TEST_CASE("implicit GEMM cuts its sums into no more pieces than there is room for") {
  const auto& k = cuda_kernels<ImplicitGemmConv2d<float>>(kCuda);
  for (const Precision precision : {Precision::kFull, Precision::kTF32}) {
    Conv2dGeometry g = conv2d_geometry({2, 130, 6, 5}, {8, 130, 3, 3}, {.padding = 1});
    g.precision = precision;
    const int64_t most = k.workspace_bytes(g, ConvPass::kForward);
    REQUIRE(most > 0);
    for (const int64_t limit : {most, most - 1, int64_t{1}}) {
      g.workspace_limit = limit;
      const int64_t bytes = k.workspace_bytes(g, ConvPass::kForward);
      CHECK(bytes <= limit);
      CHECK((bytes == most) == (limit == most));
      if (precision == Precision::kFull) check_algorithm<float>(k, cpu_kernels<Im2colConv2d<float>>(), g);
    }
  }
}

// ---- Pooling

template <class T>
void check_pooling(const PoolGeometry& g) {
  const int64_t input = g.planes * g.input_plane(), output = g.planes * g.output_plane();
  const auto x = randoms<T>(input), gy = randoms<T>(output);
  on_both<MaxPool2dKernels<T>, T>({output, output, input}, [&](const auto& k, Buffers<T>& out) {
    std::vector<char> switches(static_cast<size_t>(output) * (has_byte_switches(g) ? 1 : 4));
    std::vector<char> workspace(static_cast<size_t>(k.workspace_bytes(g)));
    k.forward(g, x.data(), out[0].data(), nullptr, workspace.data());
    k.forward(g, x.data(), out[1].data(), switches.data(), workspace.data());
    k.backward(g, gy.data(), switches.data(), out[2].data());
  });
  if (g.h.window.dilation > 1) return;
  for (const bool count_include_pad : {false, true}) {
    on_both<AvgPool2dKernels<T>, T>({output, input}, [&](const auto& k, Buffers<T>& out) {
      k.forward(g, count_include_pad, x.data(), out[0].data());
      k.backward(g, count_include_pad, gy.data(), out[1].data());
    });
  }
}

}  // namespace

TEST_CASE("convolution, float32") { check_conv<float>(); }
TEST_CASE("convolution, float64") { check_conv<double>(); }

TEST_CASE("Winograd is taken where it pays, and keeps within its memory") {
  REQUIRE(ready);
  const auto chosen = [](const Shape& x, int64_t filters, const ConvOptions& options, Precision precision) {
    Conv2dGeometry g = conv2d_geometry(x, {filters, x[1] / options.groups, 3, 3}, options);
    g.precision = precision;
    std::vector<std::string_view> names;
    for (const ConvPass pass : {ConvPass::kForward, ConvPass::kBackwardInput, ConvPass::kBackwardWeight}) {
      const Conv2dKernels<float>& k = choose_conv2d<float>(g, pass, kCuda);
      names.emplace_back(k.name);
      if (names.back() == "winograd") {
        const int64_t filter_bytes = 4 * 36 * filters * g.group_in();
        CHECK(k.workspace_bytes(g, pass) <= (int64_t{64} << 20) + filter_bytes);
      }
    }
    return static_cast<int64_t>(std::count(names.begin(), names.end(), "winograd"));
  };
  const Precision full = Precision::kFull;
  CHECK(chosen({32, 512, 28, 28}, 512, {.padding = 1}, full) == 3);
  CHECK(chosen({32, 256, 28, 28}, 256, {.padding = 1}, full) == 3);
  CHECK(chosen({32, 3, 224, 224}, 64, {.padding = 1}, full) == 0);
  CHECK(chosen({1, 512, 7, 7}, 512, {.padding = 1}, full) == 0);
  CHECK(chosen({32, 256, 28, 28}, 256, {.padding = 1, .groups = 256}, full) == 0);
  CHECK(chosen({32, 512, 28, 28}, 512, {.stride = 2, .padding = 1}, full) == 0);
  for (const Precision reduced : {Precision::kTF32, Precision::kBFloat16, Precision::kFloat16}) {
    CHECK(chosen({32, 512, 28, 28}, 512, {.padding = 1}, reduced) == 0);
  }
}

TEST_CASE_TEMPLATE("pooling", T, float, double) {
  const Tensor x = zeros({2, 3, 11, 14});
  for (const Pair kernel : {Pair(2), Pair(3), Pair(3, 2), Pair(17)}) {
    for (const int64_t stride : {1, 2, 3}) {
      for (const int64_t padding : {int64_t{0}, std::min<int64_t>(1, std::min(kernel.h, kernel.w) / 2)}) {
        const int64_t pad = kernel.h == 17 ? 8 : padding;
        check_pooling<T>(pool_geometry("test", x, kernel, Pair(stride), 1, pad, Fit::kFloor));
        check_pooling<T>(pool_geometry("test", x, kernel, Pair(stride), 1, pad, Fit::kCeil));
      }
    }
  }
  check_pooling<T>(pool_geometry("test", x, 3, Pair(2), {2, 3}, 1, Fit::kFloor));
  for (const Pair size : {Pair(1), Pair(4, 5), Pair(11, 14), Pair(13, 3)})
    check_pooling<T>(adaptive_geometry("test", x, size));
}

TEST_CASE_TEMPLATE("reductions and softmax", T, float, double) {
  for (const ReduceGeometry g : {ReduceGeometry{1, 1, 1},
                                 {1, 20000, 1},
                                 {3, 9000, 1},
                                 {5, 33, 1},
                                 {2, 7, 3},
                                 {1, 5000, 40},
                                 {4, 1000, 2},
                                 {0, 3, 1},
                                 {3, 0, 1},
                                 {2, 0, 5}}) {
    const int64_t all = g.outer * g.length * g.inner, reduced = g.outer * g.inner;
    const auto x = randoms<T>(all), y = randoms<T>(reduced), gy = randoms<T>(all);
    on_both<ReduceKernels<T>, T>(
        {reduced, all},
        [&](const auto& k, Buffers<T>& out) {
          k.sum(g, x.data(), out[0].data());
          k.repeat(g, y.data(), out[1].data());
        },
        100);
    if (g.length == 0) continue;
    for (const int sign : {1, -1}) {
      on_both<ReduceKernels<T>, T>({reduced, all}, [&](const auto& k, Buffers<T>& out) {
        std::vector<int64_t> index(static_cast<size_t>(reduced));
        k.extreme(g, sign, x.data(), out[0].data(), index.data());
        k.scatter(g, y.data(), index.data(), out[1].data());
      });
    }
    for (const bool logarithm : {false, true}) {
      on_both<SoftmaxKernels<T>, T>(
          {all, all},
          [&](const auto& k, Buffers<T>& out) {
            k.forward(g, logarithm, x.data(), out[0].data());
            k.backward(g, logarithm, out[0].data(), gy.data(), out[1].data());
          },
          20);
    }
  }
}

TEST_CASE_TEMPLATE("products", T, float, double) {
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{1, 1, 1},
                                {5, 7, 3},
                                {64, 64, 64},
                                {33, 130, 70},
                                {130, 516, 17},
                                {4, 300, 500},
                                {65, 128, 4},
                                {3, 5, 1200}}) {
    const auto a = randoms<T>(2 * m * k), b = randoms<T>(2 * k * n), bias = randoms<T>(n);
    for (const auto& [ta, tb] : {std::pair(false, false), {true, false}, {false, true}}) {
      const MatmulGeometry g{2, m, n, k, ta, tb, m * k, k * n};
      on_both<MatmulKernels<T>, T>(
          {2 * m * n}, [&](const auto& t, Buffers<T>& out) { t.forward(g, a.data(), b.data(), out[0].data()); }, 100);
    }
    const LinearGeometry g{m, k, n};
    const auto gy = randoms<T>(m * n);
    on_both<LinearKernels<T>, T>(
        {m * n, m * n, m * k, n * k, n},
        [&](const auto& t, Buffers<T>& out) {
          t.forward(g, a.data(), b.data(), bias.data(), out[0].data());
          t.forward(g, a.data(), b.data(), nullptr, out[1].data());
          t.backward_input(g, gy.data(), b.data(), out[2].data());
          t.backward_weight(g, a.data(), gy.data(), out[3].data());
          t.backward_bias(g, gy.data(), out[4].data());
        },
        100);
  }
}

TEST_CASE_TEMPLATE("batch normalization", T, float, double) {
  for (const BatchNormGeometry g : {BatchNormGeometry{4, 3, 30}, {2, 5, 4200}, {300, 2, 1}, {3, 1, 7}}) {
    const int64_t all = g.count() * g.channels, c = g.channels;
    auto x = randoms<T>(all);
    for (T& value : x) value += 100;
    const auto w = randoms<T>(c), b = randoms<T>(c), gy = randoms<T>(all), residual = randoms<T>(all);
    on_both<BatchNormKernels<T>, T>(
        {c, c, c, all, all, all, c, c, all},
        [&](const auto& k, Buffers<T>& out) {
          auto &mean = out[0], &var = out[1], &invstd = out[2], &y = out[3], &fused = out[4], &gx = out[5],
               &gw = out[6], &gb = out[7], &plain = out[8];
          k.statistics(g, x.data(), mean.data(), var.data());
          k.inverse_deviation(c, 1e-5, var.data(), invstd.data());
          k.forward(g, x.data(), mean.data(), invstd.data(), w.data(), b.data(), nullptr, false, y.data());
          k.forward(g, x.data(), mean.data(), invstd.data(), nullptr, nullptr, residual.data(), true, fused.data());
          k.backward(g, true, false, x.data(), mean.data(), invstd.data(), w.data(), b.data(), gy.data(), gx.data(),
                     gw.data(), gb.data());
          k.backward(g, false, false, x.data(), mean.data(), invstd.data(), nullptr, nullptr, gy.data(), plain.data(),
                     nullptr, nullptr);
        },
        200);
  }
}

TEST_CASE_TEMPLATE("cross-entropy", T, float, double) {
  for (const int64_t inner : {1, 6}) {
    CrossEntropyGeometry g{{5, 70, inner}, 3, 0.1};
    const auto x = randoms<T>(5 * 70 * inner), gy = randoms<T>(g.count());
    auto w = randoms<T>(70);
    for (T& value : w) value = std::abs(value);
    std::vector<int64_t> targets(static_cast<size_t>(g.count()));
    for (size_t i = 0; i < targets.size(); ++i) targets[i] = static_cast<int64_t>(i * 13 % 70);
    targets[0] = 3;
    on_both<CrossEntropyKernels<T>, T>(
        {g.count(), g.count(), 5 * 70 * inner},
        [&](const auto& k, Buffers<T>& out) {
          k.forward(g, x.data(), targets.data(), w.data(), out[0].data(), out[1].data());
          k.backward(g, x.data(), targets.data(), w.data(), out[1].data(), {gy.data(), nullptr, false}, out[2].data());
        },
        10);
  }
}

TEST_CASE_TEMPLATE("broadcasting and blocks", T, float, double) {
  const Shape a{3, 1, 5}, b{4, 1}, y{3, 4, 5};
  const auto x = randoms<T>(15), z = randoms<T>(4);
  const Broadcast g = make_broadcast(a, b, y);
  for (const BinaryOp op : {BinaryOp::kAdd, BinaryOp::kSub, BinaryOp::kMul, BinaryOp::kDiv, BinaryOp::kAddRelu}) {
    on_both<BinaryKernels<T>, T>(
        {60}, [&](const auto& k, Buffers<T>& out) { k.apply(op, g, x.data(), z.data(), out[0].data()); });
  }
  const CopyGeometry transpose{3, {5, 3, 4}, {1, 20, 5}, {12, 4, 1}};
  const auto block = randoms<T>(60);
  on_both<ShapeKernels, T>(
      {60}, [&](const auto& k, Buffers<T>& out) { k.copy_block(transpose, sizeof(T), block.data(), out[0].data()); });
  const CopyGeometry backwards{2, {4, 3}, {15, -2}, {3, 1}};
  on_both<ShapeKernels, T>({12}, [&](const auto& k, Buffers<T>& out) {
    k.copy_block(backwards, sizeof(T), block.data() + 4, out[0].data());
  });
  const std::vector<int64_t> rows{2, 0, 2};
  on_both<ShapeKernels, T>({3 * 15}, [&](const auto& k, Buffers<T>& out) {
    k.gather_rows(3, rows.data(), 15 * sizeof(T), block.data(), out[0].data());
  });
  on_both<RowKernels<T>, T>({4 * 7}, [&](const auto& k, Buffers<T>& out) {
    k.scatter_add(3, rows.data(), 4, 7, block.data(), out[0].data());
  });
}

TEST_CASE_TEMPLATE("optimisers", T, float, double) {
  const std::vector<int64_t> sizes{3, 1000, 1, 257};
  const auto steps = [&](auto rule, auto select, int states) {
    std::vector<std::vector<T>> grads;
    for (const int64_t n : sizes) grads.push_back(randoms<T>(n));
    std::vector<int64_t> outputs = sizes;
    for (int s = 0; s < states; ++s) outputs.insert(outputs.end(), sizes.begin(), sizes.end());
    on_both<OptimizerKernels<T>, T>(
        outputs,
        [&](const auto& k, Buffers<T>& out) {
          for (size_t i = 0; i < out.size(); ++i)
            std::fill(out[i].begin(), out[i].end(), i < sizes.size() ? T(1) : T(0));
          std::vector<Piece<T, decltype(rule)>> pieces;
          for (size_t i = 0; i < sizes.size(); ++i) {
            for (int64_t at = 0; at < sizes[i]; at += 400) {
              Piece<T, decltype(rule)> piece{out[i].data() + at,
                                             grads[i].data() + at,
                                             {},
                                             {},
                                             std::min<int64_t>(400, sizes[i] - at),
                                             rule,
                                             nullptr};
              for (size_t s = 0; s < static_cast<size_t>(states); ++s)
                piece.state[s] = out[(s + 1) * sizes.size() + i].data() + at;
              pieces.push_back(piece);
            }
          }
          select(k)(std::span<const Piece<T, decltype(rule)>>(pieces));
          if (&k == &kernels<OptimizerKernels<T>>(kCuda)) {  // as in a captured step: the rule is found in memory
            for (auto& piece : pieces) piece = {piece.w, piece.g, {}, {}, piece.n, decltype(rule){}, &rule};
            for (size_t i = 0, p = 0; i < sizes.size(); ++i) {
              for (int64_t at = 0; at < sizes[i]; at += 400, ++p) {
                for (size_t s = 0; s < static_cast<size_t>(states); ++s)
                  pieces[p].state[s] = out[(s + 1) * sizes.size() + i].data() + at;
              }
            }
          }
          select(k)(std::span<const Piece<T, decltype(rule)>>(pieces));
        },
        10);
  };
  steps(SGDRule{0.1, 0, 0, 0.01, false, false}, [](const auto& k) { return k.sgd; }, 0);
  steps(SGDRule{0.1, 0.9, 0.1, 0.01, false, false}, [](const auto& k) { return k.sgd; }, 1);
  steps(AdamRule{0.1, 0.9, 0.99, 1e-8, 0.01, true, 0.1, 0.01}, [](const auto& k) { return k.adam; }, 2);
  steps(RMSpropRule{0.1, 0.9, 1e-8, 0.01, 0.9, true}, [](const auto& k) { return k.rmsprop; }, 3);
  steps(AdagradRule{0.1, 1e-8, 0.01}, [](const auto& k) { return k.adagrad; }, 1);
}

TEST_CASE_TEMPLATE("other normalizations", T, float, double) {
  for (const GroupNormGeometry g : {GroupNormGeometry{3, 2, 3, 40, 1e-5}, {5, 1, 70, 1, 1e-5}, {2, 4, 1, 700, 1e-5}}) {
    const int64_t all = g.rows() * g.row_values(), weights = g.weights();
    const auto x = randoms<T>(all), w = randoms<T>(weights), b = randoms<T>(weights), gy = randoms<T>(all);
    const auto run = [&](const auto& k, Buffers<T>& out) {
      std::vector<char> space(static_cast<size_t>(std::max(k.forward_bytes(g), k.backward_bytes(g))));
      k.forward(g, x.data(), w.data(), b.data(), out[0].data(), out[1].data(), out[2].data(), space.data());
      k.backward(g, x.data(), out[1].data(), out[2].data(), w.data(), gy.data(), out[3].data(), out[4].data(),
                 out[5].data(), space.data());
    };
    on_both<GroupNormKernels<T>, T>({all, g.rows(), g.rows(), all, weights, weights}, run, 50);
  }
  LrnGeometry g{2, 7, 9, 3, 0.5, 0.75, 2};
  const auto x = randoms<T>(2 * 7 * 9), gy = randoms<T>(2 * 7 * 9);
  for (const int64_t size : {1, 3, 4, 20}) {
    g.size = size;
    const auto run = [&](const auto& k, Buffers<T>& out) {
      std::vector<char> space(static_cast<size_t>(k.workspace_bytes(g)));
      k.forward(g, x.data(), out[0].data(), space.data());
      k.backward(g, x.data(), gy.data(), out[1].data(), space.data());
    };
    on_both<LrnKernels<T>, T>({2 * 7 * 9, 2 * 7 * 9}, run, 5);
  }
}

TEST_CASE_TEMPLATE("patches and positions of their own", T, float, double) {
  for (const Case& c : {Case{{2, 3, 8, 9}, {4, 3, 3, 2}, {.stride = 2, .padding = 1, .dilation = {1, 2}}},
                        Case{{1, 2, 5, 5}, {3, 2, 3, 3}, {}}}) {
    const Conv2dGeometry g = conv2d_geometry(c.x, c.w, c.options);
    const int64_t input = c.x.numel(), columns = g.batch * g.filter_size() * g.output_plane();
    const int64_t output = g.batch * g.out_channels * g.output_plane(), weights = g.output_plane() * c.w.numel();
    const auto x = randoms<T>(input), col = randoms<T>(columns), w = randoms<T>(weights), gy = randoms<T>(output);
    const auto move = [&](const auto& k, Buffers<T>& out) {
      k.im2col(g, x.data(), out[0].data());
      k.col2im(g, col.data(), out[1].data());
    };
    on_both<Im2colKernels<T>, T>({columns, input}, move);
    const auto run = [&](const auto& k, Buffers<T>& out) {
      int64_t bytes = 0;
      for (const auto pass : {ConvPass::kForward, ConvPass::kBackwardInput, ConvPass::kBackwardWeight}) {
        bytes = std::max(bytes, k.workspace_bytes(g, pass));
      }
      std::vector<char> space(static_cast<size_t>(bytes));
      k.forward(g, x.data(), w.data(), nullptr, out[0].data(), space.data());
      k.backward_input(g, gy.data(), w.data(), out[1].data(), space.data());
      k.backward_weight(g, x.data(), gy.data(), out[2].data(), space.data());
    };
    on_both<LocallyConnectedKernels<T>, T>({output, input, weights}, run, 20);
  }
  const PoolGeometry g = pool_geometry("test", zeros({2, 3, 9, 8}), 3, Pair(2), 1, 0, Fit::kCeil);
  const int64_t input = g.planes * g.input_plane(), output = g.planes * g.output_plane();
  const auto x = randoms<T>(input), gy = randoms<T>(output);
  const auto run = [&](const auto& k, Buffers<T>& out) {
    k.forward(g, T(3), x.data(), out[0].data());
    k.backward(g, T(3), x.data(), out[0].data(), gy.data(), out[1].data());
  };
  on_both<LPPool2dKernels<T>, T>({output, input}, run, 10);
}

TEST_CASE_TEMPLATE("sums of losses and of gradients", T, float, double) {
  for (const int64_t n : {1, 300, 70000}) {
    const auto x = randoms<T>(n), w = randoms<T>(10);
    std::vector<int64_t> targets(static_cast<size_t>(n));
    for (size_t i = 0; i < targets.size(); ++i) targets[i] = static_cast<int64_t>(i * 7 % 10);
    on_both<LossKernels<T>, T>(
        {1, 1, 1},
        [&](const auto& k, Buffers<T>& out) {
          std::vector<int64_t> copy(targets.size());
          double factor = NAN;
          CHECK(k.copy_targets({"loss", 10, false, 0}, n, targets.data(), copy.data()) == 0);
          CHECK(copy == targets);
          k.mean_factor(n, 3, targets.data(), w.data(), &factor);
          out[2][0] = static_cast<T>(factor);
          k.total(n, x.data(), nullptr, out[0].data());
          k.total(n, x.data(), &factor, out[1].data());
        },
        100);
    on_both<OptimizerKernels<T>, T>(
        {3, n, n},
        [&](const auto& k, Buffers<T>& out) {
          double sums[2] = {NAN, NAN}, norm = NAN, factor = NAN;
          k.square_sum(n, x.data(), &sums[0]);
          k.square_sum(10, w.data(), &sums[1]);
          for (size_t i = 0; i < 2; ++i) {
            k.clip_factor(2, sums, i == 0 ? 0.5 : 1e9, &norm, &factor);
            out[1 + i] = x;
            k.shrink(n, &factor, out[1 + i].data());
          }
          CHECK(out[2] == x);
          out[0] = {static_cast<T>(sums[0]), static_cast<T>(sums[1]), static_cast<T>(norm)};
        },
        100);
  }
}

TEST_CASE_TEMPLATE("hinge losses", T, float, double) {
  const MultiMarginGeometry g{{7, 45, 1}, true, 1, 0.5};
  const auto x = randoms<T>(7 * 45), gy = randoms<T>(7);
  const std::vector<int64_t> targets{0, 44, 3, 3, 17, 1, 30};
  const auto run = [&](const auto& k, Buffers<T>& out) {
    k.forward(g, x.data(), targets.data(), nullptr, out[0].data());
    k.backward(g, x.data(), targets.data(), nullptr, {gy.data(), nullptr, false}, out[1].data());
  };
  on_both<MultiMarginKernels<T>, T>({7, 7 * 45}, run, 10);
}
