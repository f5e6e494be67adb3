// Times the algorithms of a convolution the first time that its geometry is met.
#include <algorithm>
#include <chrono>
#include <limits>

#include "autotune.h"
#include "cnnx/graph.h"
#include "ops/conv2d/choice.h"
#include "parallel.h"
#include "storage.h"
#include "tensor_impl.h"

namespace cnnx {
namespace {

constexpr double kSeconds = 0.03;  // that an algorithm's runs may take, once there are kFewestRuns
constexpr int kFewestRuns = 3;     // beside the first one, which meets cold caches and prepares the weights
constexpr int kMostRuns = 100;
constexpr int kRunsTogether = 8;         // on a GPU
constexpr double kHopeless = 4;          // an algorithm whose first run takes so many times the best is not run again
constexpr double kClearlyFaster = 0.97;  // of the time of the rule's choice: ties stay with that

class Key {
 public:
  Key& add(std::string_view name, std::string_view value) {
    if (!text_.empty()) text_ += ' ';
    text_.append(name).append("=").append(value);
    return *this;
  }
  Key& add(std::string_view name, int64_t value) { return add(name, std::to_string(value)); }
  Key& add(std::string_view name, const WindowAxis& a) {
    std::string value = std::to_string(a.input);
    for (const int64_t each : {a.kernel, a.stride, a.dilation, a.pad_before, a.pad_after, a.output})
      value.append(",").append(std::to_string(each));
    return add(name, value);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

/// Everything that the fastest algorithm may depend on, but for the machine. A field that Conv2dGeometry gets is one
/// more line.
template <class T>
std::string key_of(const Conv2dGeometry& g, ConvPass pass, Device device) {
  constexpr std::string_view kPasses[] = {"forward", "input", "weight"};
  return Key()
      .add("conv2d", kPasses[static_cast<size_t>(pass)])
      .add("batch", g.batch)
      .add("in", g.in_channels)
      .add("out", g.out_channels)
      .add("groups", g.groups)
      .add("h", g.h)
      .add("w", g.w)
      .add("dtype", dtype_name(dtype_of<T>()))
      .add("prepared", g.is_prepared && !device.is_cuda())
      .add("precision", static_cast<int64_t>(g.precision))
      .add("threads", device.is_cuda() ? 0 : g.threads)
      .add("limit", g.workspace_limit == kNoWorkspaceLimit ? -1 : g.workspace_limit)
      .take();
}

/// Whether a time would tell something now: not while a graph is captured, which runs nothing, nor on the CPU while
/// another thread has the pool. A loop of nothing is how to ask.
bool can_measure(const Conv2dGeometry& g, Device device) {
  if (is_capturing()) return false;
  if (device.is_cuda()) return true;
  if (inside_shared_loop()) return false;
  return g.threads == 1 || try_run_chunks(g.threads, g.threads, [](const void*, int64_t, int) {}, nullptr);
}

/// The least of several times, in seconds. On a GPU, each is of several runs, since a wait takes longer than many a
/// kernel, and a run before them loads the kernels and waits for what was there.
template <class F>
double measure(const F& run, Device device, double best_so_far) {
  using Clock = std::chrono::steady_clock;
  const int together = device.is_cuda() ? kRunsTogether : 1;
  const auto once = [&] {
    const auto start = Clock::now();
    for (int i = 0; i < together; ++i) run();
    if (device.is_cuda()) synchronize(device);
    return std::chrono::duration<double>(Clock::now() - start).count() / together;
  };
  if (device.is_cuda()) {
    run();
    synchronize(device);
  }
  double least = once();
  if (least > kHopeless * best_so_far) return least;
  double total = 0;
  for (int runs = 0; runs < kFewestRuns || (runs < kMostRuns && total < kSeconds); ++runs) {
    const double time = once();
    total += time * together;
    least = std::min(least, time);
  }
  return least;
}

/// Times the candidates, the rule's first. No algorithm is chosen if there is no memory to run any.
template <class T>
AutotuneChoice measure_all(std::span<const Conv2dKernels<T>* const> candidates, Device device, int64_t outputs,
                           const ConvRun<T>& run) {
  AutotuneChoice choice{.machine = {}, .key = {}, .source = "measured", .algorithm = {}, .milliseconds = {}};
  double best = std::numeric_limits<double>::infinity();
  for (const auto* algorithm : candidates) {
    try {
      const Workspace scratch(static_cast<size_t>(outputs) * sizeof(T), device);
      const double time = measure([&] { run(*algorithm, static_cast<T*>(scratch.data())); }, device, best);
      choice.milliseconds.emplace_back(algorithm->name, time * 1e3);
      const double rated = algorithm == candidates.front() ? time * kClearlyFaster : time;
      if (rated >= best) continue;
      best = rated;
      choice.algorithm = algorithm->name;
    } catch (const std::bad_alloc&) {  // too large for the machine; another may need less
    }
  }
  return choice;
}

}  // namespace

template <class T>
const Conv2dKernels<T>& autotuned_conv2d(const Conv2dGeometry& g, ConvPass pass, Device device, int64_t outputs,
                                         const ConvRun<T>& run) {
  const std::string key = key_of<T>(g, pass, device);
  const auto known = [&]() -> const Conv2dKernels<T>* {
    const std::optional<std::string> name = remembered_choice(device, key);
    const Conv2dKernels<T>* const found = name ? find_conv2d<T>(device, *name) : nullptr;
    return found && found->accepts(g, pass) ? found : nullptr;
  };
  if (const auto* remembered = known()) return *remembered;
  const Conv2dKernels<T>& rule = choose_conv2d<T>(g, pass, device);
  std::vector<const Conv2dKernels<T>*> candidates{&rule};
  for (const auto* algorithm : conv2d_algorithms<T>(device))
    if (algorithm != &rule && is_eligible(*algorithm, g, pass)) candidates.push_back(algorithm);
  if (candidates.size() == 1 || outputs == 0 || device.is_meta()) return rule;
  const std::lock_guard one_at_a_time(measuring());
  if (const auto* remembered = known()) return *remembered;
  AutotuneChoice choice;
  if (can_measure(g, device)) choice = measure_all<T>(candidates, device, outputs, run);
  if (choice.algorithm.empty()) {
    choice.source = "rule";
    choice.algorithm = rule.name;
  }
  choice.key = key;
  const auto& chosen = *find_conv2d<T>(device, choice.algorithm);
  remember_choice(device, std::move(choice));
  return chosen;
}

template const Conv2dKernels<float>& autotuned_conv2d(const Conv2dGeometry&, ConvPass, Device, int64_t,
                                                      const ConvRun<float>&);
template const Conv2dKernels<double>& autotuned_conv2d(const Conv2dGeometry&, ConvPass, Device, int64_t,
                                                       const ConvRun<double>&);

}  // namespace cnnx
