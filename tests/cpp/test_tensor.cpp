// Tensor and the element-wise operations through the public headers.
#include <doctest/doctest.h>

#include <cmath>

#include "cnnx/cnnx.h"

using cnnx::Shape;
using cnnx::Tensor;

TEST_CASE("creation and access") {
  const Tensor zeros = cnnx::zeros({2, 3});
  CHECK(zeros.shape() == Shape{2, 3});
  CHECK(zeros.numel() == 6);
  CHECK(cnnx::ones({}).item() == 1);
  CHECK(cnnx::full({2}, 4, {.dtype = cnnx::DType::kInt64}).to_vector() == std::vector<double>{4, 4});
  const Tensor large = cnnx::full({}, INT64_MAX, {.dtype = cnnx::DType::kInt64});
  CHECK((large - 1).item_int() == INT64_MAX - 1);
  CHECK((large * 1.0).dtype() == cnnx::DType::kFloat32);
  CHECK(cnnx::arange(0, 3).to_vector() == std::vector<double>{0, 1, 2});
  CHECK_THROWS_AS(cnnx::zeros({2}).data<double>(), std::invalid_argument);
  CHECK_THROWS_AS(Tensor().shape(), std::invalid_argument);
}

TEST_CASE("arithmetic broadcasts") {
  const double values[] = {1, 2, 3, 4, 5, 6};
  const Tensor a = cnnx::tensor(values, {2, 3}), b = cnnx::tensor(std::span(values).first(3), {3});
  CHECK((a + b).to_vector() == std::vector<double>{2, 4, 6, 5, 7, 9});
  CHECK((2.0 * a - 1.0).to_vector() == std::vector<double>{1, 3, 5, 7, 9, 11});
  CHECK(cnnx::matmul(a, b).to_vector() == std::vector<double>{14, 32});
  CHECK(a.sum().item() == 21);
  CHECK_THROWS_AS(a + cnnx::zeros({2}), std::invalid_argument);
}

TEST_CASE("reshape shares and slices copy") {
  Tensor x = cnnx::zeros({4, 2});
  x.reshape({-1}).fill_(3);
  CHECK(x.sum().item() == 24);
  x.slice(0, 2).fill_(0);
  CHECK(x.sum().item() == 24);
  CHECK_THROWS_AS(x.select(4), std::out_of_range);
}

TEST_CASE("parts are read and written by integers, slices, ellipsis and new axes") {
  using cnnx::Slice;
  Tensor x = cnnx::arange(0, 24).reshape({2, 3, 4}).to(cnnx::DType::kFloat64);
  CHECK(x.index({1, cnnx::Ellipsis{}, Slice{1, 3}}).to_vector() == std::vector<double>{13, 14, 17, 18, 21, 22});
  CHECK(x.index({Slice{}, 0, -1}).to_vector() == std::vector<double>{3, 15});
  CHECK(x.index({0, 0, Slice{.step = -2}}).to_vector() == std::vector<double>{3, 1});
  CHECK(x.index({cnnx::NewAxis{}, Slice{1, {}}}).shape() == Shape{1, 1, 3, 4});
  CHECK(x.index({}).shape() == x.shape());
  CHECK_THROWS_AS(x.index({0, 3}), std::out_of_range);
  CHECK_THROWS_AS(x.index({0, 0, 0, 0}), std::out_of_range);
  CHECK_THROWS_AS(x.index({Slice{.step = 0}}), std::invalid_argument);

  Tensor value = cnnx::full({3, 1}, 5, {.requires_grad = true});
  x.index_put_({0, Slice{}, Slice{2, {}}}, value);
  CHECK(x.index({0, 2}).to_vector() == std::vector<double>{8, 9, 5, 5});
  (x * x).sum().backward();
  CHECK(value.grad().to_vector() == std::vector<double>{20, 20, 20});
  CHECK_THROWS_AS(x.index_put_({0}, cnnx::zeros({5})), std::invalid_argument);
  CHECK_THROWS_AS(value.index_put_({0}, cnnx::zeros({1})), std::runtime_error);

  const Tensor rows = cnnx::arange(0, 2, 1, {cnnx::DType::kInt64}), columns = rows.reshape({2, 1}) + 1;
  const Tensor both[] = {rows, columns};
  CHECK(x.index_rows(both).shape() == Shape{2, 2, 4});
  CHECK(x.index_rows(rows.reshape({1, 2})).shape() == Shape{1, 2, 3, 4});
}

TEST_CASE("memory is counted and released") {
  const auto before = cnnx::memory_stats().current;
  {
    const Tensor x = cnnx::zeros({1024, 1024});
    CHECK(cnnx::memory_stats().current - before == 4 << 20);
  }
  CHECK(cnnx::memory_stats().current == before);
  cnnx::empty_cache();
  CHECK(cnnx::memory_stats().cached == 0);
  CHECK_THROWS_AS(cnnx::zeros({int64_t{1} << 50}), std::bad_alloc);
}

TEST_CASE("from_memory releases its owner") {
  float values[] = {1, 2};
  bool released = false;
  {
    const Tensor x = cnnx::from_memory(values, {2}, {}, [&] { released = true; });
    CHECK(x.sum().item() == 3);
    CHECK_FALSE(released);
  }
  CHECK(released);
}

TEST_CASE("16-bit numbers are rounded once and hold their values") {
  using cnnx::bfloat16, cnnx::DType, cnnx::float16;
  static_assert(float16(1.0f).bits == 0x3C00 && bfloat16(1.0f).bits == 0x3F80);
  static_assert(float16(65520.0f).bits == 0x7C00 && float16(65519.0).bits == 0x7BFF);
  CHECK(float(float16(0x1p-24f)) == 0x1p-24f);
  CHECK(float(float16(0x1.8p-25)) == 0x1p-24f);
  CHECK(float16(1 + 0x1p-11 + 0x1p-40).bits == 0x3C01);  // float32 would see a tie
  CHECK(bfloat16(1 + 0x1p-8 + 0x1p-40).bits == 0x3F81);
  CHECK(bfloat16(0x1p-133).bits == 1);
  CHECK(std::isnan(float(bfloat16(std::nan("")))));

  const Tensor x = cnnx::full({2, 3}, 0.5, {.dtype = DType::kBFloat16, .requires_grad = true});
  CHECK(x.str() == "tensor([[0.5, 0.5, 0.5],\n        [0.5, 0.5, 0.5]], dtype=bfloat16, requires_grad=True)");
  const Tensor y = cnnx::sigmoid(x * 2.0);
  CHECK(y.dtype() == DType::kBFloat16);
  CHECK(y.data<bfloat16>()[5].bits == bfloat16(1 / (1 + std::exp(-1.0f))).bits);
  CHECK_THROWS_AS(y.data<float>(), std::invalid_argument);
  y.sum().backward();
  CHECK(x.grad().dtype() == DType::kBFloat16);
  CHECK(cnnx::promote_types(DType::kFloat16, DType::kBFloat16) == DType::kFloat32);
  CHECK(cnnx::promote_types(DType::kFloat16, DType::kInt64) == DType::kFloat16);
}
