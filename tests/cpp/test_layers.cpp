// Transposed, locally connected, normalizing and resampling layers from C++: shapes, values, gradients, files.
#include <doctest/doctest.h>

#include "cnnx/cnnx.h"

using cnnx::Shape;
using cnnx::Tensor;

namespace {

/// Whether x's gradient of the sum of squares of fn(x) agrees with finite differences.
template <class F>
void check_gradient(Tensor x, F fn) {
  const auto loss = [&] {
    const Tensor y = fn(x);
    return (y * y).sum();
  };
  loss().backward();
  const Tensor grad = x.grad();
  for (int64_t i = 0; i < x.numel(); ++i) {
    double& value = x.data<double>()[i];
    const double original = value, eps = 1e-5;
    value = original + eps;
    const double above = loss().item();
    value = original - eps;
    const double below = loss().item();
    value = original;
    CHECK(grad.data<double>()[i] == doctest::Approx((above - below) / (2 * eps)).epsilon(1e-4));
  }
}

const cnnx::TensorOptions kLeaf{.dtype = cnnx::DType::kFloat64, .requires_grad = true};

}  // namespace

TEST_CASE("layers that enlarge images") {
  cnnx::Sequential net(cnnx::ConvTranspose2d(4, 6, 3, {.stride = 2, .padding = 1, .output_padding = 1}),
                       cnnx::GroupNorm(2, 6), cnnx::Upsample({.scale_factor = 2, .mode = "bilinear"}),
                       cnnx::ReflectionPad2d({1, 2, 0, 0}), cnnx::InstanceNorm2d(6), cnnx::ZeroPad2d({1, 1, 1, 1}),
                       cnnx::Dropout2d(0.2), cnnx::LayerNorm({22, 25}));
  const Tensor x = cnnx::randn({2, 4, 5, 5});
  CHECK(net(x).shape() == Shape{2, 6, 22, 25});
  net.eval();
  const cnnx::ModulePtr again = cnnx::module_from_json(cnnx::architecture_json(net));
  again->load_state_dict(net.state_dict());
  again->eval();
  CHECK(again(x).to_vector() == net(x).to_vector());
}

TEST_CASE("filters of one's own at every position") {
  cnnx::LocallyConnected2d layer(3, 2, 3, {7, 6}, {.stride = 2, .padding = 1});
  CHECK(layer.weight().shape() == Shape{4, 3, 2, 3, 3, 3});
  CHECK(layer(cnnx::zeros({5, 3, 7, 6})).shape() == Shape{5, 2, 4, 3});
  CHECK_THROWS_AS(layer(cnnx::zeros({5, 3, 9, 6})), std::invalid_argument);
}

TEST_CASE("known values") {
  const double values[] = {1, 2, 3, 4};
  const Tensor x = cnnx::tensor(values, {1, 1, 2, 2});
  CHECK(cnnx::upsample(x, {.size = cnnx::Pair(2, 4)}).to_vector() == std::vector<double>{1, 1, 2, 2, 3, 3, 4, 4});
  const int64_t borders[] = {1, 0};
  CHECK(cnnx::pad(x, borders, 0, cnnx::PadMode::kReflect).to_vector() == std::vector<double>{2, 1, 2, 4, 3, 4});
  CHECK(cnnx::im2col(x, {1, 2}).to_vector() == std::vector<double>{1, 3, 2, 4});
  CHECK(cnnx::col2im(cnnx::im2col(x, {1, 2}), 2, {1, 2}).to_vector() == x.to_vector());
  CHECK(cnnx::conv_transpose2d(x, cnnx::ones({1, 1, 2, 2})).to_vector() ==
        std::vector<double>{1, 3, 2, 4, 10, 6, 3, 7, 4});
}

TEST_CASE("gradients agree with finite differences") {
  cnnx::manual_seed(5);
  const Tensor filters = cnnx::randn({2, 3, 3, 2}, {cnnx::DType::kFloat64});
  check_gradient(cnnx::randn({1, 2, 3, 4}, kLeaf), [&](const Tensor& x) {
    return cnnx::conv_transpose2d(x, filters, {}, {.stride = {2, 1}, .padding = {1, 0, 0, 1}});
  });
  const Tensor own = cnnx::randn({2, 3, 2, 2, 2, 2}, {cnnx::DType::kFloat64});
  check_gradient(cnnx::randn({2, 2, 3, 4}, kLeaf), [&](const Tensor& x) { return cnnx::locally_connected2d(x, own); });
  const Tensor weight = cnnx::randn({4}, {cnnx::DType::kFloat64});
  check_gradient(cnnx::randn({2, 4, 3, 2}, kLeaf), [&](const Tensor& x) { return cnnx::group_norm(x, 2, weight); });
}
