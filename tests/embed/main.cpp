// Loads a model that Python trained, computes Python's scores, trains one step. Usage: embed MODEL SAMPLES
#include <cnnx/cnnx.h>

#include <cmath>
#include <cstdlib>
#include <iostream>

namespace {

cnnx::Tensor find(const cnnx::SafeTensors& file, const std::string& wanted) {
  for (const auto& [name, tensor] : file.tensors) {
    if (name == wanted) return tensor;
  }
  throw std::runtime_error("the samples lack " + wanted);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return EXIT_FAILURE;
  try {
    const cnnx::ModulePtr model = cnnx::load(argv[1]);
    const cnnx::SafeTensors samples = cnnx::load_safetensors(argv[2]);
    const cnnx::Tensor images = find(samples, "images"), labels = find(samples, "labels"),
                       expected = find(samples, "scores");

    double worst = 0;
    {
      const cnnx::NoGradGuard no_grad;
      const cnnx::Tensor difference = cnnx::abs(model(images) - expected);
      worst = difference.max().item();
    }
    std::cout << "largest difference from Python's scores: " << worst << '\n';
    if (!(worst < 1e-4)) return EXIT_FAILURE;

    model->train();
    cnnx::optim::SGD optimizer(model->parameters(), {.lr = 0.01});
    double losses[2];
    for (double& loss_value : losses) {
      const cnnx::Tensor loss = cnnx::cross_entropy(model(images), labels);
      loss_value = loss.item();
      optimizer.zero_grad();
      loss.backward();
      optimizer.step();
    }
    std::cout << "loss before and after a step: " << losses[0] << ' ' << losses[1] << '\n';
    return losses[1] < losses[0] ? EXIT_SUCCESS : EXIT_FAILURE;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return EXIT_FAILURE;
  }
}
