// Modules, optimisers and files from C++, as an embedding program uses them.
#include <doctest/doctest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "cnnx/cnnx.h"

using cnnx::Tensor;

namespace {

cnnx::Sequential make_net() {
  return cnnx::Sequential(cnnx::Conv2d(1, 4, 3, {.padding = 1}), cnnx::BatchNorm2d(4), cnnx::ReLU(), cnnx::MaxPool2d(2),
                          cnnx::Flatten(), cnnx::Linear(4 * 16, 3));
}

struct Residual : cnnx::Module {
  std::shared_ptr<cnnx::Conv2d> conv = register_module("conv", cnnx::Conv2d(2, 2, 3, {.padding = 1}));
  Tensor forward(const Tensor& x) override { return x + cnnx::relu((*conv)(x)); }
};

std::string temporary(const char* name) { return (std::filesystem::temp_directory_path() / name).string(); }

}  // namespace

TEST_CASE("a net trains") {
  cnnx::manual_seed(0);
  cnnx::Sequential net = make_net();
  cnnx::optim::SGD optimizer(net.parameters(), {.lr = 0.1, .momentum = 0.9});
  const Tensor x = cnnx::randn({12, 1, 8, 8});
  const Tensor labels = cnnx::arange(0, 12).to(cnnx::DType::kInt64);
  Tensor classes = cnnx::zeros({12}, {.dtype = cnnx::DType::kInt64});
  for (int64_t i = 0; i < 12; ++i) classes.data<int64_t>()[i] = labels.data<int64_t>()[i] % 3;
  double first = 0, last = 0;
  for (int step = 0; step < 60; ++step) {
    const Tensor loss = cnnx::cross_entropy(net(x), classes);
    (step == 0 ? first : last) = loss.item();
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
  }
  CHECK(first > 0.9);
  CHECK(last < 0.05);
}

TEST_CASE("own modules and their parameters") {
  Residual block;
  CHECK(block.named_parameters().front().first == "conv.weight");
  CHECK(block(cnnx::ones({1, 2, 4, 4})).shape() == cnnx::Shape{1, 2, 4, 4});
  CHECK_FALSE(block.is_describable());
}

TEST_CASE("save and load") {
  cnnx::Sequential net = make_net();
  net(cnnx::randn({4, 1, 8, 8}));
  net.eval();
  const std::string path = temporary("cnnx_test_model.safetensors");
  cnnx::save(net, path, {{"note", "by a test"}});
  const cnnx::ModulePtr loaded = cnnx::load(path);
  const Tensor x = cnnx::randn({2, 1, 8, 8});
  CHECK(loaded(x).to_vector() == net(x).to_vector());
  CHECK(cnnx::load_safetensors(path).metadata.at("note") == "by a test");
  std::ofstream(path, std::ios::binary | std::ios::trunc) << "damaged";
  CHECK_THROWS_AS(cnnx::load(path), std::invalid_argument);
  std::filesystem::remove(path);
  CHECK_THROWS_AS(cnnx::load(path), std::runtime_error);
}

TEST_CASE("a file keeps what is shared, and is not written if it could not be loaded") {
  auto layer = std::make_shared<cnnx::Linear>(3, 3);
  cnnx::Sequential net(layer, cnnx::ReLU(), layer, cnnx::Residual({{"body", layer}}, layer));
  const std::string path = temporary("cnnx_test_shared.safetensors");
  cnnx::save(net, path);
  const cnnx::ModulePtr loaded = cnnx::load(path);
  CHECK(loaded->parameters().size() == 2);
  CHECK(loaded->shared_names() == net.shared_names());
  const Tensor x = cnnx::randn({2, 3}), y = net(x);
  CHECK(loaded(x).to_vector() == y.to_vector());
  const auto bytes = std::filesystem::file_size(path);
  net.register_buffer("mean", cnnx::zeros({3}));
  CHECK_THROWS_AS(cnnx::save(net, path), std::invalid_argument);
  CHECK(std::filesystem::file_size(path) == bytes);
  std::filesystem::remove(path);
}

TEST_CASE("architectures as text") {
  cnnx::Sequential net = make_net();
  const std::string json = cnnx::architecture_json(net);
  CHECK(cnnx::module_from_json(json)->repr() == net.repr());
  Residual block;
  CHECK_THROWS_AS(cnnx::architecture_json(block), std::invalid_argument);
  CHECK_THROWS_AS(cnnx::module_from_json("{"), std::invalid_argument);
}

TEST_CASE("calls are watched, and errors name the layer") {
  struct Paths : cnnx::CallObserver {
    std::vector<std::string> seen;
    void left(const cnnx::Call& call, std::span<const Tensor> outputs) override {
      seen.push_back(call.path() + " " + outputs[0].shape().str());
    }
  };
  cnnx::Sequential net(Residual(), cnnx::Sequential(cnnx::Flatten(), cnnx::Linear(32, 3)));
  {
    Paths paths;
    net(cnnx::ones({1, 2, 4, 4}));
    const std::vector<std::string> expected{"0.conv (1, 2, 4, 4)", "0 (1, 2, 4, 4)", "1.0 (1, 32)",
                                            "1.1 (1, 3)",          "1 (1, 3)",       " (1, 3)"};
    CHECK(paths.seen == expected);
    CHECK(cnnx::Call::is_watched());
  }
  CHECK_FALSE(cnnx::Call::is_watched());
  CHECK(cnnx::Call::current() == nullptr);
  std::string message;
  try {
    net(cnnx::ones({1, 2, 4, 5}));
  } catch (const std::invalid_argument& error) {
    message = error.what();
  }
  CHECK(message.ends_with("; at 1.1 (Linear), input (1, 40)."));
}

TEST_CASE("a dry run allocates as a real one and computes nothing") {
  const auto peak = [](cnnx::Device device) {
    const cnnx::DeviceGuard guard(device);
    const auto before = cnnx::memory_stats(device).current;
    cnnx::Sequential net = make_net();
    net[0]->set_checkpointed(true);
    cnnx::reset_peak_memory(device);
    net(cnnx::randn({4, 1, 8, 8})).sum().backward();
    return cnnx::memory_stats(device).peak - before;
  };
  CHECK(peak("cpu") == peak("meta"));
  CHECK(peak("meta") > 4 * 4 * 64 * 4);
  CHECK(cnnx::memory_stats("meta").current == 0);
  CHECK_THROWS_AS(cnnx::zeros({2}, {.device = "meta"}).item(), std::invalid_argument);
}
