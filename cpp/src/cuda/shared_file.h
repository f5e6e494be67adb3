// Functions of libraries that are looked for at run time.
#pragma once

#include <dlfcn.h>

#include <string>

namespace cnnx::cuda {

/// Sets `function` to the file's function of that name. Returns whether there is one.
template <class F>
bool find_function(void* file, const std::string& name, F& function) {
  function = reinterpret_cast<F>(dlsym(file, name.c_str()));
  return function != nullptr;
}

}  // namespace cnnx::cuda
