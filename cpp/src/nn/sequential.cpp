// Sequential: modules applied in order.
#include <algorithm>

#include "check.h"
#include "cnnx/module.h"

namespace cnnx {
namespace {

/// The position from the front. Raises std::out_of_range.
size_t position(int64_t index, size_t size) {
  const auto length = static_cast<int64_t>(size);
  check<std::out_of_range>(index >= -length && index < length, "sequential", "index {} is out of range for {} modules.",
                           index, length);
  return static_cast<size_t>(index < 0 ? index + length : index);
}

bool numbered(const Module::NamedModules& modules) {
  for (size_t i = 0; i < modules.size(); ++i) {
    if (modules[i].first != std::to_string(i)) return false;
  }
  return true;
}

}  // namespace

Sequential::Sequential(std::vector<std::shared_ptr<Module>> modules) {
  for (auto& module : modules) push_back(std::move(module));
}

Tensor Sequential::forward(const Tensor& x) {
  Tensor y = x;
  for (auto& module : children_snapshot()) y = ModulePtr(std::move(module))(y);
  return y;
}

void Sequential::push_back(std::shared_ptr<Module> module) {
  size_t number = size();
  while (slot(std::to_string(number)) != Slot::kNone) ++number;
  register_module(std::to_string(number), std::move(module));
}

ModulePtr Sequential::operator[](int64_t index) const { return named_children()[position(index, size())].second; }

void Sequential::replace(int64_t index, std::shared_ptr<Module> module) {
  const std::string name = named_children()[position(index, size())].first;
  register_module(name, std::move(module));
}

void Sequential::erase(int64_t index) {
  NamedModules modules = named_children();
  const bool renumber = numbered(modules);
  modules.erase(modules.begin() + static_cast<std::ptrdiff_t>(position(index, size())));
  for (size_t i = 0; renumber && i < modules.size(); ++i) modules[i].first = std::to_string(i);
  set_children(std::move(modules));
}

void Sequential::insert(int64_t index, std::shared_ptr<Module> module) {
  const size_t at = index == static_cast<int64_t>(size()) ? size() : position(index, size());
  const bool renumber = numbered(named_children());
  push_back(std::move(module));
  NamedModules modules = named_children();
  std::rotate(modules.begin() + static_cast<std::ptrdiff_t>(at), modules.end() - 1, modules.end());
  for (size_t i = 0; renumber && i < modules.size(); ++i) modules[i].first = std::to_string(i);
  set_children(std::move(modules));
}

}  // namespace cnnx
