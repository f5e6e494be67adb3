// The tape from C++.
#include <doctest/doctest.h>

#include "cnnx/cnnx.h"

using cnnx::Tensor;

TEST_CASE("backward accumulates into leaves") {
  Tensor x = cnnx::full({3}, 2, {.requires_grad = true});
  (x * x).sum().backward();
  (x * x).sum().backward();
  CHECK(x.grad().to_vector() == std::vector<double>{8, 8, 8});
}

TEST_CASE("errors of backward") {
  Tensor x = cnnx::ones({2}, {.requires_grad = true});
  CHECK_THROWS_AS((x * 2.0).backward(), std::runtime_error);
  const Tensor y = (x * x).sum();
  y.backward();
  CHECK_THROWS_AS(y.backward(), std::runtime_error);
  const cnnx::NoGradGuard guard;
  CHECK_FALSE((x * 2.0).requires_grad());
}

TEST_CASE("convolution's gradients agree with finite differences") {
  cnnx::manual_seed(1);
  const cnnx::TensorOptions options{.dtype = cnnx::DType::kFloat64, .requires_grad = true};
  Tensor x = cnnx::randn({1, 2, 5, 4}, options), w = cnnx::randn({3, 2, 3, 2}, options);
  const auto loss = [&] {
    const Tensor y = cnnx::conv2d(x, w, {}, {.stride = {2, 1}, .padding = {1, 0, 0, 1}});
    return (y * y).sum();
  };
  loss().backward();
  for (Tensor* input : {&x, &w}) {
    const Tensor grad = input->grad();
    for (int64_t i = 0; i < input->numel(); ++i) {
      double& value = input->data<double>()[i];
      const double original = value, eps = 1e-5;
      value = original + eps;
      const double above = loss().item();
      value = original - eps;
      const double below = loss().item();
      value = original;
      CHECK(grad.data<double>()[i] == doctest::Approx((above - below) / (2 * eps)).epsilon(1e-5));
    }
  }
}
