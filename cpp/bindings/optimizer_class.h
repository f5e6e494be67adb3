// What the bindings of optimisers share.
#pragma once

#include "casters.h"
#include "cnnx/optim.h"

namespace cnnx::bindings {

/// Keeps the other threads' steps away. The GIL is not held while waiting: who has the lock may need it.
std::unique_lock<std::mutex> lock(optim::Optimizer& optimizer);
/// An iterable of parameters, or of dicts with "params" and options of their own.
std::vector<optim::ParamGroup> groups_of(const py::object& params);

void bind_optimizer_base(py::module_& m);

}  // namespace cnnx::bindings
