// save() and load(): weights and architecture in one safetensors file.
#include <unordered_map>

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

/// Errors now are better than a file that load() refuses.
void check_describes(const std::string& architecture, const StateDict& state) {
  try {
    const DeviceGuard meta("meta");
    const init::SkipGuard skip;
    StateDict without_values;
    for (const auto& [name, tensor] : state) without_values.emplace_back(name, empty(tensor.shape(), {tensor.dtype()}));
    module_from_json(architecture)->load_state_dict(without_values);
  } catch (const std::invalid_argument& error) {
    fail("save",
         "a file cannot describe this model: its tensors are not those that its layers' arguments give. Save its "
         "state_dict with save_state.\n{}",
         error.what());
  }
}

/// A layer whose tensor was converted through another layer has dtypes that its arguments do not say; the file does.
void adopt_dtypes(Module& model, const StateDict& state) {
  std::unordered_map<std::string_view, DType> dtypes;
  for (const auto& [name, tensor] : state) dtypes.emplace(name, tensor.dtype());
  StateDict own = model.named_parameters();
  for (auto& buffer : model.named_buffers()) own.push_back(std::move(buffer));
  for (auto& [name, tensor] : own) {
    const auto found = dtypes.find(name);
    if (found == dtypes.end() || found->second == tensor.dtype()) continue;
    if (is_floating(found->second) && is_floating(tensor.dtype())) tensor.set_data(tensor.detach().to(found->second));
  }
}

}  // namespace

void save(Module& model, const std::string& path, const Metadata& metadata) {
  check(metadata.count(kArchitecture) == 0, "save", "the metadata key \"{}\" is cnnx's own.", kArchitecture);
  const StateDict state = model.state_dict();  // first: it refuses models whose shared modules have too many names
  Metadata all = metadata;
  if (is_describable(model)) {
    all[kArchitecture] = architecture_json(model);
    check_describes(all[kArchitecture], state);
  }
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
  adopt_dtypes(*model, file.tensors);
  model->load_state_dict(file.tensors);
  model->eval();
  return model;
}

}  // namespace cnnx
