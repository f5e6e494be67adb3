// save() and load(): weights and architecture in one safetensors file.
#include "check.h"
#include "cnnx/io.h"
#include "storage.h"

namespace cnnx {
namespace {

constexpr const char* kArchitecture = "cnnx.architecture";

bool is_describable(const Module& model) {
  for (const auto& [name, module] : model.named_descendants()) {
    if (!module->is_describable()) return false;
  }
  return model.is_describable();
}

}  // namespace

void save(Module& model, const std::string& path, const Metadata& metadata) {
  check(metadata.count(kArchitecture) == 0, "save", "the metadata key \"{}\" is cnnx's own.", kArchitecture);
  const StateDict state = model.state_dict();  // first: it refuses models whose shared modules have too many names
  Metadata all = metadata;
  if (is_describable(model)) all[kArchitecture] = architecture_json(model);
  save_safetensors(path, state, all);
}

ModulePtr load(const std::string& path) {
  const SafeTensors file = load_safetensors(path);
  const auto architecture = file.metadata.find(kArchitecture);
  check(
      architecture != file.metadata.end(), "load",
      "{} holds tensors without an architecture. Build the model and use model.load_state_dict(cnnx.load_state(path)).",
      path);
  size_t bytes = 0;
  for (const auto& [name, tensor] : file.tensors)
    bytes += static_cast<size_t>(tensor.numel() * dtype_size(tensor.dtype()));
  ModulePtr model;
  {
    const AllocationBudget budget(2 * bytes + (size_t{1} << 20));
    const init::SkipGuard skip;
    model = module_from_json(architecture->second);
  }
  model->load_state_dict(file.tensors);
  model->eval();
  return model;
}

}  // namespace cnnx
