// The memory of choices that were made by measuring, and the file behind it. Who measures what is for the operation.
#pragma once

#include <mutex>
#include <optional>
#include <string>

#include "cnnx/autotune.h"

namespace cnnx {

/// The algorithm that is remembered for a key on machines as this device's: this process's own choice or the file's.
std::optional<std::string> remembered_choice(Device device, const std::string& key);
/// Remembers a choice for the rest of the process, in place of one that the file had; and in the file, if it was
/// measured. Fills in its machine.
void remember_choice(Device device, AutotuneChoice choice);
/// Held while something is measured: one at a time, and who meets what another thread is measuring waits for it.
std::mutex& measuring();

}  // namespace cnnx
