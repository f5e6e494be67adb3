// Convolution algorithms chosen by their measured time in place of the estimated one, and the file that keeps them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cnnx/device.h"

namespace cnnx {

/// While on, the first convolution of each geometry times the algorithms, and the fastest is taken from then on. Off at
/// first, unless the environment variable CNNX_AUTOTUNE is 1. Choices are kept in a file, CNNX_AUTOTUNE_CACHE (empty:
/// none), else $XDG_CACHE_HOME/cnnx/autotune.json or ~/.cache/cnnx/autotune.json.
CNNX_API void set_autotune(bool enabled);
CNNX_API bool is_autotune_enabled();

struct AutotuneChoice {
  std::string machine;  ///< Processor or GPU, and the versions of what runs on it; empty if unknown, then not kept.
  std::string key;      ///< Pass, geometry and what else the choice depends on.
  std::string source;   ///< "measured", "file", or "rule" where measuring was impossible: the least estimated cost.
  std::string algorithm;
  std::vector<std::pair<std::string, double>> milliseconds;  ///< Of each algorithm that was timed.
};
/// What this process remembers, in the order of machines and keys.
CNNX_API std::vector<AutotuneChoice> autotune_choices();
/// Forgets all of it, and what the file says about this machine's processor and GPUs.
CNNX_API void clear_autotune();

}  // namespace cnnx
