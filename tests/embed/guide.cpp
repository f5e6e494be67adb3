// The examples of docs/cpp.md, which shows the parts between the markers. Usage: guide MODEL
#include <cnnx/cnnx.h>

#include <cstdlib>
#include <iostream>
#include <thread>
#include <vector>

namespace {

void expect(bool condition, const char* what) {
  if (!condition) throw std::runtime_error(std::string("failed: ") + what);
}

// [module]
struct Net : cnnx::Module {
  std::shared_ptr<cnnx::Conv2d> conv = register_module("conv", cnnx::Conv2d(1, 8, 3, {.padding = 1}));
  std::shared_ptr<cnnx::Linear> head = register_module("head", cnnx::Linear(8 * 16, 10));

  cnnx::Tensor forward(const cnnx::Tensor& x) override {
    const cnnx::Tensor features = cnnx::max_pool2d(cnnx::relu((*conv)(x)), 2);
    return (*head)(features.flatten(1));
  }
};
// [module]

void train() {
  // [train]
  cnnx::manual_seed(0);
  cnnx::Sequential net(cnnx::Conv2d(1, 8, 3, {.padding = 1}), cnnx::ReLU(), cnnx::MaxPool2d(2), cnnx::Flatten(),
                       cnnx::Linear(8 * 16, 10));
  const cnnx::Tensor images = cnnx::randn({32, 1, 8, 8}), labels = cnnx::zeros({32}, {.dtype = cnnx::DType::kInt64});

  cnnx::optim::SGD optimizer(net.parameters(), {.lr = 0.05, .momentum = 0.9});
  double loss_value = 0;
  for (int step = 0; step < 20; ++step) {
    optimizer.zero_grad();
    const cnnx::Tensor loss = cnnx::cross_entropy(net(images), labels);
    loss.backward();
    optimizer.step();
    loss_value = loss.item();
  }
  net.eval();
  cnnx::save(net, "trained.safetensors");
  // [train]
  expect(loss_value < 0.5, "the loss falls");
  const cnnx::NoGradGuard no_grad;
  const cnnx::Tensor difference = cnnx::abs(cnnx::load("trained.safetensors")(images) - net(images));
  expect(difference.max().item() == 0, "the saved net is the same");
}

void own_module() {
  Net net;
  expect(net(cnnx::zeros({2, 1, 8, 8})).shape() == cnnx::Shape{2, 10}, "shape of Net's scores");
  expect(net.named_parameters().size() == 4, "Net's parameters are registered");
}

void own_memory() {
  bool released = false;
  {
    // [memory]
    auto* pixels = new std::vector<float>(64, 0.5F);  // somebody else's buffer, used in place
    const cnnx::Tensor image = cnnx::from_memory(pixels->data(), {1, 1, 8, 8}, {}, [pixels, &released] {
      delete pixels;  // when the last handle is gone
      released = true;
    });
    const cnnx::Tensor same = image.reshape({64});  // shares the memory
    const float first = same.data<float>()[0];
    // [memory]
    expect(first == 0.5F && !released, "the memory is used in place");
  }
  expect(released, "the memory is released");
}

void errors(const cnnx::ModulePtr& model) {
  std::string message;
  // [errors]
  try {
    model(cnnx::zeros({1, 3, 8, 8}));  // the model takes one channel
  } catch (const std::invalid_argument& error) {
    message = error.what();
  }
  // [errors]
  expect(message.starts_with("[conv2d] expected 1 input channels"), "the message names the operation");
  expect(message.find("input (1, 3, 8, 8)") != std::string::npos, "the message names the input");
}

void threads(const cnnx::ModulePtr& model) {
  const cnnx::Tensor images = cnnx::randn({4, 1, 8, 8});
  // [threads]
  std::vector<cnnx::Tensor> scores(4);
  std::vector<std::thread> workers;
  for (int i = 0; i < 4; ++i) {
    workers.emplace_back([&, i] {
      const cnnx::NoGradGuard no_grad;  // a guard is its thread's own
      scores[static_cast<size_t>(i)] = model(images);
    });
  }
  for (std::thread& worker : workers) worker.join();
  // [threads]
  for (const cnnx::Tensor& each : scores) {
    expect(each.to_vector() == scores[0].to_vector(), "all threads get the same scores");
  }
}

// [observer]
struct Sizes : cnnx::CallObserver {
  std::vector<std::string> lines;
  void left(const cnnx::Call& call, std::span<const cnnx::Tensor> outputs) override {
    lines.push_back(call.path() + ' ' + outputs[0].shape().str());
  }
};
// [observer]

/// The right column of the page's table.
void names() {
  const cnnx::DeviceGuard guard("meta");
  cnnx::Conv2d conv(3, 16, 3, {.stride = 2, .padding = 1});
  const cnnx::Tensor y = cnnx::max_pool2d(conv(cnnx::zeros({1, 3, 224, 224})), 3, {.stride = 2});
  expect(y.shape() == cnnx::Shape{1, 16, 55, 55} && y.device().is_meta(), "a dry run has shapes");
}

void observer(const cnnx::ModulePtr& model) {
  Sizes sizes;
  model(cnnx::zeros({1, 1, 8, 8}));
  expect(!sizes.lines.empty() && sizes.lines.back() == " (1, 10)", "the model itself is left last");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return EXIT_FAILURE;
  try {
    const cnnx::ModulePtr model = cnnx::load(argv[1]);
    train();
    names();
    own_module();
    own_memory();
    errors(model);
    threads(model);
    observer(model);
    std::cout << "the documentation's examples work\n";
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return EXIT_FAILURE;
  }
}
