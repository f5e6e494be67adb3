// Autotune's memory and its file: one JSON object, {"cnnx_autotune": 1, "machines": {machine: {key: choice}}}.
//
// The file is a help and nothing more: if it cannot be read or written there is one warning, and the process goes on
// with what it measures itself. Every write merges with a fresh read, so that processes add to each other's entries.
#include "autotune.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#if !defined(_WIN32)
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <unistd.h>
#endif

#include "cnnx/version.h"
#include "cuda/library.h"
#include "io/atomic_file.h"

namespace cnnx {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr auto kWriteEvery = std::chrono::seconds(2);
constexpr uintmax_t kMostBytes = 64 << 20;
constexpr int kFormat = 1;

std::string environment(const char* name) {
  const char* text = std::getenv(name);
  return text ? text : "";
}

/// Where choices are kept; empty for nowhere.
fs::path cache_path() {
  if (const char* path = std::getenv("CNNX_AUTOTUNE_CACHE")) return path;
  fs::path folder = environment("XDG_CACHE_HOME");
  if (!folder.is_absolute()) {
    const fs::path home = environment("HOME");
    if (home.empty()) return {};
    folder = home / ".cache";
  }
  return folder / "cnnx" / "autotune.json";
}

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with("model name") && !line.starts_with("CPU part")) continue;
    const size_t begin = line.find(": ");
    if (begin != std::string::npos) return line.substr(begin + 2);
  }
  return "";
}

/// Times hold for one processor and one instruction set, or one GPU with its software, and for one version of the
/// kernels. Empty if the processor is unknown: then nothing is kept. The model is never destroyed, as other threads may
/// compute until the process ends.
std::string machine_of(Device device) {
  const std::string version = std::string(", cnnx ") + CNNX_VERSION;
  if (device.is_cuda()) return cuda_library().describe(device.index) + version;
  static const std::string& model = *new std::string(cpu_model());
  return model.empty() ? "" : model + ", " + cpu_isa_name() + version;
}

void warn(const std::string& text) {
  static std::mutex mutex;
  static std::set<std::string>& said = *new std::set<std::string>;
  const std::lock_guard lock(mutex);
  if (said.insert(text).second) std::cerr << "cnnx: warning: [autotune] " + text + "\n";
}

/// While one lives, other processes that write into the folder wait, but not for ever: then the last one wins.
class FolderLock {
 public:
  explicit FolderLock([[maybe_unused]] const fs::path& folder) {
#if !defined(_WIN32)
    file_ = open(folder.c_str(), O_RDONLY | O_CLOEXEC);
    for (int tries = 0; file_ >= 0 && tries < 200 && flock(file_, LOCK_EX | LOCK_NB) != 0; ++tries) usleep(5000);
#endif
  }
  ~FolderLock() {
#if !defined(_WIN32)
    if (file_ >= 0) close(file_);
#endif
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int file_ = -1;
};

/// The file's object, a new one if there is no file yet; nothing if it is something else, which then stays as it is.
std::optional<Json> read_cache(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  const bool is_new = !fs::exists(status) || (fs::is_regular_file(status) && fs::file_size(path, error) == 0);
  if (is_new) return Json{{"cnnx_autotune", kFormat}, {"machines", Json::object()}};
  if (fs::is_regular_file(status) && fs::file_size(path, error) <= kMostBytes) {
    std::ifstream in(path, std::ios::binary);
    Json cache = Json::parse(in, nullptr, false);
    const auto has = [&](const char* name) { return cache.is_object() && cache.contains(name); };
    if (has("cnnx_autotune") && cache["cnnx_autotune"] == kFormat && has("machines") && cache["machines"].is_object())
      return cache;
  }
  warn(path.string() +
       " is not a file of this version's autotune, and is left as it is. Remove it, or set "
       "CNNX_AUTOTUNE_CACHE to another path.");
  return std::nullopt;
}

Json to_json(const AutotuneChoice& choice) {
  Json times = Json::object();
  for (const auto& [name, milliseconds] : choice.milliseconds) times[name] = milliseconds;
  return {{"algorithm", choice.algorithm}, {"ms", times}};
}

/// An entry of the file; nothing if it is not what this library writes.
std::optional<AutotuneChoice> from_json(const std::string& machine, const std::string& key, const Json& entry) {
  if (!entry.is_object() || !entry.contains("algorithm") || !entry["algorithm"].is_string()) return std::nullopt;
  AutotuneChoice choice{machine, key, "file", entry["algorithm"].get<std::string>(), {}};
  if (entry.contains("ms") && entry["ms"].is_object()) {
    for (const auto& [name, time] : entry["ms"].items())
      if (time.is_number()) choice.milliseconds.emplace_back(name, time.get<double>());
  }
  return choice;
}

class Book {
 public:
  std::optional<std::string> find(const std::string& machine, const std::string& key) {
    std::optional<std::string> algorithm;
    bool due = false;
    {
      const std::lock_guard lock(mutex_);
      if (loaded_.insert(machine).second) load(machine);
      const auto found = choices_.find({machine, key});
      if (found != choices_.end()) algorithm = found->second.algorithm;
      due = is_due();
    }
    if (due) write();
    return algorithm;
  }

  void remember(AutotuneChoice choice) {
    bool due = false;
    {
      const std::lock_guard lock(mutex_);
      const Place place{choice.machine, choice.key};
      if (choice.source == "measured" && !choice.machine.empty()) {
        if (pending_.empty()) last_write_ = Clock::now();
        pending_.insert(place);
      }
      choices_.insert_or_assign(place, std::move(choice));
      due = is_due();
    }
    if (due) write();
  }

  std::vector<AutotuneChoice> list() {
    const std::lock_guard lock(mutex_);
    std::vector<AutotuneChoice> all;
    for (const auto& [place, choice] : choices_) all.push_back(choice);
    return all;
  }

  void clear(const std::set<std::string>& machines) {
    {
      const std::lock_guard lock(mutex_);
      choices_.clear();
      pending_.clear();
      loaded_.clear();
    }
    change_file([&](Json& all) {
      size_t erased = 0;
      for (const std::string& machine : machines) erased += all.erase(machine);
      return erased > 0;
    });
  }

  void write() noexcept {
    std::map<Place, Json> entries;
    try {
      {
        const std::lock_guard lock(mutex_);
        for (const Place& place : pending_) entries[place] = to_json(choices_.at(place));
        pending_.clear();
      }
      if (entries.empty()) return;
      change_file([&](Json& all) {
        for (auto& [place, entry] : entries) {
          Json& mine = all[place.first];
          if (!mine.is_object()) mine = Json::object();
          mine[place.second] = std::move(entry);
        }
        return true;
      });
    } catch (const std::exception&) {  // no memory: what was measured is measured again
    }
  }

  std::mutex measuring;

 private:
  using Place = std::pair<std::string, std::string>;  // machine, key

  /// Whether choices wait long enough to be written; asked under the mutex.
  bool is_due() const { return !pending_.empty() && Clock::now() - last_write_ >= kWriteEvery; }

  void load(const std::string& machine) {
    const fs::path path = cache_path();
    if (path.empty() || machine.empty()) return;
    const std::optional<Json> cache = read_cache(path);
    if (!cache) return;
    const Json& machines = (*cache)["machines"];
    const auto mine = machines.find(machine);
    if (mine == machines.end() || !mine->is_object()) return;
    for (const auto& [key, entry] : mine->items()) {
      if (auto choice = from_json(machine, key, entry)) choices_.emplace(Place{machine, key}, std::move(*choice));
    }
  }

  /// Lets `change` alter the machines of the file; writes it if that returns true.
  template <class F>
  void change_file(F&& change) {
    const std::lock_guard one_writer(file_mutex_);
    const fs::path path = cache_path();
    if (path.empty()) return;
    const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
    try {
      std::error_code error;
      fs::create_directories(folder, error);  // if that failed, so does the write
      const FolderLock lock(folder);
      std::optional<Json> cache = read_cache(path);
      if (!cache) return;
      if (!change((*cache)["machines"])) return;
      write_atomically(path.string(), [&](std::ostream& out) {
        out << cache->dump(1, ' ', false, Json::error_handler_t::replace) << '\n';
      });
    } catch (const std::exception& error) {
      warn(std::string("choices are not kept: ") + error.what());
    }
  }

  std::mutex mutex_, file_mutex_;
  std::map<Place, AutotuneChoice> choices_;
  std::set<Place> pending_;       // what the file does not have yet
  std::set<std::string> loaded_;  // machines whose entries of the file are among the choices
  Clock::time_point last_write_;
};

/// Never destroyed: other threads may compute until the process ends. A forked child starts afresh, as another thread
/// of the parent may have held the locks.
Book& book() {
  static std::atomic<Book*> current = [] {
    std::atexit([] { book().write(); });
#if !defined(_WIN32)
    pthread_atfork(nullptr, nullptr, [] { current = new Book; });
#endif
    return new Book;
  }();
  return *current;
}

std::atomic<bool>& enabled() {
  static std::atomic<bool> setting{environment("CNNX_AUTOTUNE") == "1"};
  return setting;
}

}  // namespace

std::optional<std::string> remembered_choice(Device device, const std::string& key) {
  return book().find(machine_of(device), key);
}

void remember_choice(Device device, AutotuneChoice choice) {
  choice.machine = machine_of(device);
  book().remember(std::move(choice));
}

std::mutex& measuring() { return book().measuring; }

void set_autotune(bool on) { enabled() = on; }
bool is_autotune_enabled() { return enabled().load(std::memory_order_relaxed); }
std::vector<AutotuneChoice> autotune_choices() { return book().list(); }
void clear_autotune() {
  std::set<std::string> machines{machine_of(Device())};
  for (int i = 0; i < cuda_device_count(); ++i) machines.insert(machine_of({DeviceType::kCuda, i}));
  book().clear(machines);
}

}  // namespace cnnx
