// Residual and Concat: modules that apply their children side by side.
#include "check.h"
#include "cnnx/nn.h"
#include "nn/chain.h"

namespace cnnx {

Container::Container(NamedModules children) {
  for (auto& [name, module] : children) {
    check(slot(name) == Slot::kNone, "container", "the name \"{}\" is given twice.", name);
    register_module(name, std::move(module));
  }
}

Residual::Residual(NamedModules body, std::shared_ptr<Module> downsample) : Container(std::move(body)) {
  check(slot(kShortcut) == Slot::kNone, "residual", "a module of the body cannot be named \"{}\".", kShortcut);
  if (downsample) register_module(kShortcut, std::move(downsample));
}

Tensor Residual::forward(const Tensor& x) {
  const std::shared_ptr<Module> downsample = child(kShortcut);
  return run_residual(children_snapshot(kShortcut), x, downsample ? ModulePtr(downsample)(x) : x);
}

Tensor Concat::forward(const Tensor& x) {
  std::vector<Tensor> parts;
  for (auto& module : children_snapshot()) parts.push_back(ModulePtr(std::move(module))(x));
  check(!parts.empty(), "concat", "Concat has no modules.");
  return concat(parts, 1);
}

}  // namespace cnnx
