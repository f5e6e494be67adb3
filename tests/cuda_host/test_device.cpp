// Tensors on a device whose work waits: checks, graphs, uploads. Streams are lazy here, so that work whose source is
// gone or which overtakes other work gives wrong values.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "cnnx/cnnx.h"
#include "cuda/library.h"

namespace {

using namespace cnnx;

const Device kCuda{DeviceType::kCuda, 0};

struct Lazy {
  Lazy() {
    setenv("CNNX_CUDA_LIBRARY", CNNX_CUDA_HOST_LIBRARY, 1);
    setenv("CNNX_CUDA_HOST_LAZY", "1", 1);
  }
  ~Lazy() {
    synchronize(kCuda);
    setenv("CNNX_CUDA_HOST_LAZY", "0", 1);
  }
};

Tensor numbers(std::initializer_list<double> values, DType dtype = DType::kInt64) {
  return tensor(std::span(values.begin(), values.size()), {static_cast<int64_t>(values.size())}, {dtype, kCuda});
}

TEST_CASE("a class that there is not is raised when the host waits, and harms nothing") {
  const Lazy lazy;
  Tensor x = randn({4, 3}, {.device = kCuda, .requires_grad = true});
  Tensor loss = cross_entropy(x, numbers({0, 7, 2, -1000000}));
  loss.backward();
  CHECK_THROWS_WITH_AS(loss.item(), "[cross_entropy] targets must lie in [0, 3); got 7 at position 1.",
                       std::out_of_range);
  CHECK(std::isfinite(loss.item()));  // it was raised once, and the values are there
  CHECK(x.grad().to(Device()).numel() == 12);
  multi_margin_loss(x, numbers({0, 1, 2, 3}));
  CHECK_THROWS_WITH_AS(synchronize(kCuda), "[multi_margin_loss] targets must lie in [0, 3); got 3 at position 3.",
                       std::out_of_range);
  CHECK_NOTHROW(cross_entropy(x, numbers({0, 1, -100, 2})).item());
  const Tensor rows = x.index_rows(numbers({-4, 3, 4}));
  CHECK_THROWS_WITH_AS(rows.to_vector(), "[index] row numbers must lie in [-4, 4); got 4.", std::out_of_range);
  CHECK(rows.to_vector()[0] == x.to_vector()[0]);
}

TEST_CASE("tables travel with the launches") {
  const Lazy lazy;
  for (const size_t bytes : {size_t{5}, size_t{3584}, size_t{10000}, size_t{100000}}) {
    std::vector<unsigned char> from(bytes);
    for (size_t i = 0; i < bytes; ++i) from[i] = static_cast<unsigned char>(i * 7);
    const std::vector<unsigned char> kept = from;
    Tensor to = empty({static_cast<int64_t>((bytes + 7) / 8)}, {DType::kInt64, kCuda});
    cuda_library().upload(0, to.raw_data(), from.data(), bytes);
    std::fill(from.begin(), from.end(), 0);
    const Tensor back = to.to(Device());
    CHECK(std::memcmp(back.raw_data(), kept.data(), bytes) == 0);
  }
}

TEST_CASE("page-locked memory is not used again while a copy reads it") {
  const Lazy lazy;
  std::vector<Tensor> there;
  for (int i = 0; i < 20; ++i) {
    Tensor here = empty_pinned({1000}, DType::kFloat32);
    CHECK(is_pinned(here));
    here.fill_(i);
    there.push_back(here.to(kCuda, true));
  }
  for (int i = 0; i < 20; ++i) {
    const Tensor back = there[static_cast<size_t>(i)].to(Device());
    CHECK(back.data<float>()[0] == static_cast<float>(i));
    CHECK(back.data<float>()[999] == static_cast<float>(i));
  }
}

TEST_CASE("uploads wait for what reads their buffers, and are waited for") {
  const Lazy lazy;
  Uploader uploader(kCuda);
  Tensor sum = zeros({1000}, {.device = kCuda});
  std::vector<Arrival> ahead;
  const auto start = [&](int i) {
    Tensor here = empty_pinned({1000}, DType::kFloat32);
    here.fill_(i);
    ahead.push_back(uploader.start(here));
  };
  start(0);
  start(1);
  for (int i = 0; i < 30; ++i) {
    {
      const Tensor batch = ahead[static_cast<size_t>(i)].take();
      sum = add(sum, batch);
      CHECK_THROWS_AS(ahead[static_cast<size_t>(i)].take(), std::runtime_error);
    }
    start(i + 2);
  }
  CHECK(sum.to(Device()).data<float>()[7] == 29 * 30 / 2);
  ahead.clear();  // two that nobody took
  CHECK(memory_stats(kCuda).by_kind[static_cast<size_t>(MemoryKind::kBatch)] <= 5 * 4096);
}

TEST_CASE("page-locked memory that is not known as such may change after an upload") {
  const Lazy lazy;
  Uploader uploader(kCuda);
  Tensor here = empty_pinned({1000}, DType::kFloat32);
  here.fill_(1);
  const Tensor part = from_memory(here.data<float>() + 8, {992}, {}, [here] {});  // its start is in no list
  Arrival arrival = uploader.start(part);
  here.fill_(2);
  CHECK(arrival.take().to(Device()).data<float>()[0] == 1);
}

TEST_CASE("a graph computes in each run what the captured calls would") {
  const Lazy lazy;
  manual_seed(5);
  Tensor x = randn({6, 4}, {.device = kCuda}), w = randn({3, 4}, {.device = kCuda, .requires_grad = true});
  optim::Adam adam(std::vector<Tensor>{w}, {.lr = 0.1});
  const auto step = [&] {
    adam.zero_grad();
    const Tensor loss = sum(dropout(linear(x, w), 0.5));
    loss.backward();
    adam.step();
    return loss.detach();
  };
  std::vector<double> expected;
  const Tensor begin = w.detach().clone();
  for (int i = 0; i < 6; ++i) {
    adam.set_lr(0.1 / (1 + i));
    expected.push_back(step().item());
  }
  const std::vector<double> expected_w = w.to_vector();

  manual_seed(5);
  randn({6, 4});
  randn({3, 4});
  w.detach().copy_(begin);
  adam.set_state(std::vector<optim::Optimizer::State>(1));
  std::vector<double> got;
  adam.set_lr(0.1);
  got.push_back(step().item());
  CudaGraph graph(kCuda);
  graph.begin();
  CHECK(is_capturing());
  const Tensor loss = step();
  CHECK_THROWS_WITH_AS(loss.item(),
                       "[graph] a captured function cannot wait for the GPU; got values that the host reads, as by "
                       "item(), numpy() or print(). Return the tensor, and read it after the call.",
                       CudaError);
  CHECK_THROWS_AS(synchronize(kCuda), CudaError);
  CHECK_THROWS_AS(zeros({1}, {.device = {DeviceType::kCuda, 1}}), CudaError);
  CHECK_THROWS_AS(randn({2}), std::runtime_error);
  graph.end();
  for (int i = 1; i < 6; ++i) {
    adam.set_lr(0.1 / (1 + i));
    graph.replay();
    const Tensor noise = randn({50}, {.device = kCuda});  // takes memory and a stream of random numbers
    manual_seed(5);
    randn({6, 4});
    randn({3, 4});
    for (int j = 0; j <= i; ++j) dropout(ones({1}), 0.5);
    got.push_back(loss.item());
  }
  CHECK(got == expected);
  CHECK(w.to_vector() == expected_w);
  CHECK(adam.state()[0].at("step").item() == 6);

  CHECK(graph.is_current());
  adam.set_state(std::vector<optim::Optimizer::State>(1));
  CHECK_FALSE(graph.is_current());
  CHECK_THROWS_AS(graph.replay(), std::runtime_error);
}

TEST_CASE("a graph keeps its memory, and gives it back") {
  const Lazy lazy;
  empty_cache(kCuda);
  const Tensor x = ones({5000}, {.device = kCuda});
  Tensor y;
  {
    CudaGraph graph(kCuda);
    graph.begin();
    y = mul(add(x, x), x);
    graph.end();
    std::vector<Tensor> others;
    for (int i = 0; i < 50; ++i) others.push_back(full({5000}, -1, {.device = kCuda}));
    graph.replay();
    CHECK(y.to(Device()).data<float>()[4999] == 2);
    for (const Tensor& other : others) CHECK(other.to(Device()).data<float>()[4999] == -1);
    empty_cache(kCuda);
    graph.replay();
    CHECK(y.to(Device()).data<float>()[0] == 2);
  }
  y = {};
  empty_cache(kCuda);
  CHECK(memory_stats(kCuda).cached == 0);
}

TEST_CASE("a capture that fails leaves all as it was") {
  const Lazy lazy;
  Tensor w = ones({8}, {.device = kCuda, .requires_grad = true});
  optim::SGD sgd(std::vector<Tensor>{w}, {.lr = 0.1, .momentum = 0.9});
  {
    CudaGraph graph(kCuda);
    graph.begin();
    sum(mul(w, w)).backward();
    CHECK_THROWS_AS(sgd.step(), std::runtime_error);  // its first step
    CudaGraph second(kCuda);
    CHECK_THROWS_AS(second.begin(), CudaError);
    graph.abandon();
    CHECK_THROWS_AS(graph.replay(), std::runtime_error);
  }
  CHECK_FALSE(is_capturing());
  sgd.zero_grad();
  sum(mul(w, w)).backward();
  sgd.step();
  CHECK(w.to(Device()).data<float>()[0] == doctest::Approx(0.8));
}

}  // namespace
