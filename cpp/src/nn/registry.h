// The layers that a file can name, by type_name().
#pragma once

#include <map>

#include "cnnx/nn.h"

namespace cnnx {

/// Makes a layer of default arguments filled in by the reader, which may leave any of them as they are. Children are
/// the caller's to register. Wrong arguments raise std::invalid_argument.
using LayerBuilder = std::function<std::shared_ptr<Module>(FieldVisitor& reader)>;
const std::map<std::string, LayerBuilder>& layer_registry();

}  // namespace cnnx
