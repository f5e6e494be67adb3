// Temporary file, flush to disk, rename.
#include "io/atomic_file.h"

#include <filesystem>
#include <fstream>
#include <random>
#include <system_error>

#if !defined(_WIN32)
#include <fcntl.h>
#include <unistd.h>
#endif

#include "check.h"

namespace cnnx {
namespace {

namespace fs = std::filesystem;

/// Waits until the file's (or folder's) data is on the disk. Folders cannot be flushed on Windows, nor on some file
/// systems: then the rename is as safe as the system makes it.
bool flush_to_disk([[maybe_unused]] const fs::path& path) {
#if defined(_WIN32)
  return true;
#else
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  const bool flushed = fsync(file) == 0;
  close(file);
  return flushed;
#endif
}

fs::path temporary_name(const fs::path& target) {
  std::random_device random;
  return target.parent_path() / ("." + target.filename().string() + "." + std::to_string(random()) + ".tmp");
}

}  // namespace

void write_atomically(const std::string& path, const std::function<void(std::ostream& out)>& fill) {
  std::error_code error;
  fs::path target = fs::path(path);
  if (fs::is_symlink(target, error)) {
    const fs::path real = fs::weakly_canonical(target, error);
    if (!error) target = real;
  }
  const fs::file_status status = fs::status(target, error);
  check<std::runtime_error>(!fs::exists(status) || fs::is_regular_file(status), "save",
                            "cannot write {}: it is not a regular file.", path);
  const fs::path temporary = temporary_name(target);
  std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
  check<std::runtime_error>(out.is_open(), "save",
                            "cannot write in the folder of {}. Does it exist, and may you write there?", path);
  try {
    fill(out);
    out.close();
    check<std::runtime_error>(!out.fail() && flush_to_disk(temporary), "save", "writing {} failed. Is the disk full?",
                              path);
    if (fs::exists(status)) fs::permissions(temporary, status.permissions(), error);
    fs::rename(temporary, target, error);
    check<std::runtime_error>(!error, "save", "cannot replace {}: {}.", path, error.message());
  } catch (...) {
    out.close();
    fs::remove(temporary, error);
    throw;
  }
  flush_to_disk(target.has_parent_path() ? target.parent_path() : fs::path("."));
}

}  // namespace cnnx
