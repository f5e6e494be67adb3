// Files: safetensors in and out, models with their architecture.
#pragma once

#include <map>

#include "cnnx/nn.h"

namespace cnnx {

using Metadata = std::map<std::string, std::string>;

/// The tensors and string metadata of a .safetensors file.
struct SafeTensors {
  StateDict tensors;
  Metadata metadata;
};
/// Raises std::invalid_argument that says what is wrong for a file that is not well-formed, std::runtime_error for one
/// that cannot be read. Allocates no more than the file's own size.
CNNX_API SafeTensors load_safetensors(const std::string& path);
/// Writes atomically: a temporary file in the same folder, fsync, rename.
CNNX_API void save_safetensors(const std::string& path, const StateDict& tensors, const Metadata& metadata = {});

/// One file with weights and, when every module is of the library's own types, the architecture as JSON in the
/// metadata.
CNNX_API void save(Module& model, const std::string& path, const Metadata& metadata = {});
/// Rebuilds the model that save() wrote, in eval mode.
CNNX_API ModulePtr load(const std::string& path);
/// The architecture as JSON text, and back, without weights.
CNNX_API std::string architecture_json(Module& model);
CNNX_API ModulePtr module_from_json(const std::string& json);

}  // namespace cnnx
