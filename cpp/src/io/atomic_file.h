// Files that are replaced as a whole or not at all.
#pragma once

#include <functional>
#include <ostream>
#include <string>

namespace cnnx {

/// Writes a file through `fill` to a temporary neighbour, flushes it to the disk and renames it over `path`: readers
/// see the old file or the complete new one. A link is followed; permissions of an existing file are kept. Raises
/// std::runtime_error that names the path; the old file is untouched then.
void write_atomically(const std::string& path, const std::function<void(std::ostream& out)>& fill);

}  // namespace cnnx
