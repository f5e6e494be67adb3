// The memory of choices that were made by measuring, and the file behind it. Who measures what is for the operation.
#pragma once

#include <mutex>
#include <optional>
#include <string>

#include "cnnx/autotune.h"

namespace cnnx {

/// The algorithm that is remembered for a key: this process's own choice or the file's.
std::optional<std::string> remembered_choice(const std::string& key);
/// Remembers a choice for the rest of the process, in place of one that the file had; and in the file, if it was
/// measured on the CPU: a GPU may be another one tomorrow.
void remember_choice(AutotuneChoice choice, Device device);
/// Held while something is measured: one at a time, and who meets what another thread is measuring waits for it.
std::mutex& measuring();

}  // namespace cnnx
