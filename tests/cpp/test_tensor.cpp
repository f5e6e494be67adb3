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
