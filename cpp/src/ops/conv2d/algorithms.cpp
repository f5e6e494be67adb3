// The list of convolution algorithms, the choice among them, and the pin of set_conv_algorithm().
#include <algorithm>
#include <array>
#include <atomic>

#include "check.h"
#include "kernels.h"
#include "ops/conv2d/choice.h"

namespace cnnx {
namespace {
std::atomic<const char*> pinned{nullptr};  // an algorithm's own name; null chooses by geometry

/// The algorithms of a GPU have the names of those of the CPU that they are like; cuDNN's are like none.
template <class T>
std::span<const Conv2dKernels<T>* const> cuda_algorithms(Device device) {
  static const std::array<const Conv2dKernels<T>*, 4> list{
      &cuda_kernels<DirectConv2d<T>>(device), &cuda_kernels<CudnnConv2d<T>>(device),
      &cuda_kernels<WinogradConv2d<T>>(device), &cuda_kernels<ImplicitGemmConv2d<T>>(device)};
  use_cuda_device(device.index);
  return list;
}

/// The algorithm's name as its table has it, which stays; null if no device has one of this name.
const char* known_name(std::string_view name) {
  const Conv2dKernels<float>* found = find_conv2d<float>(Device(), name);
  if (!found && cuda_is_available()) found = find_conv2d<float>(Device("cuda"), name);
  return found ? found->name : nullptr;
}
}  // namespace

template <class T>
std::span<const Conv2dKernels<T>* const> conv2d_algorithms(Device device) {
  static const std::array<const Conv2dKernels<T>*, 7> cpu{
      &cpu_kernels<DirectConv2d<T>>(),   &cpu_kernels<SmallDirectConv2d<T>>(),   &cpu_kernels<PointwiseConv2d<T>>(),
      &cpu_kernels<WinogradConv2d<T>>(), &cpu_kernels<SmallWinogradConv2d<T>>(), &cpu_kernels<ImplicitGemmConv2d<T>>(),
      &cpu_kernels<Im2colConv2d<T>>()};
  if (device.is_cuda()) return cuda_algorithms<T>(device);
  if (device.is_meta()) {
    static const auto muted = [] {
      std::array<Conv2dKernels<T>, cpu.size()> tables;
      std::transform(cpu.begin(), cpu.end(), tables.begin(), [](const auto* table) { return mute(*table); });
      return tables;
    }();
    static const auto pointers = [] {
      std::array<const Conv2dKernels<T>*, cpu.size()> list;
      std::transform(muted.begin(), muted.end(), list.begin(), [](const auto& table) { return &table; });
      return list;
    }();
    return pointers;
  }
  return cpu;
}

template <class T>
const Conv2dKernels<T>* find_conv2d(Device device, std::string_view name) {
  const auto list = conv2d_algorithms<T>(device);
  const auto found = std::find_if(list.begin(), list.end(), [&](const auto* each) { return each->name == name; });
  return found == list.end() ? nullptr : *found;
}

template <class T>
const Conv2dKernels<T>* pinned_conv2d(const Conv2dGeometry& g, ConvPass pass, Device device) {
  const char* const name = pinned.load(std::memory_order_relaxed);
  if (!name) return nullptr;
  const Conv2dKernels<T>* const pin = find_conv2d<T>(device, name);
  return pin && pin->accepts(g, pass) ? pin : nullptr;
}

template <class T>
bool is_eligible(const Conv2dKernels<T>& algorithm, const Conv2dGeometry& g, ConvPass pass) {
  Conv2dGeometry alone = g;
  alone.threads = 1;
  return algorithm.accepts(g, pass) &&
         (g.workspace_limit == kNoWorkspaceLimit || algorithm.workspace_bytes(alone, pass) <= g.workspace_limit);
}

template <class T>
const Conv2dKernels<T>& cheapest_conv2d(const Conv2dGeometry& g, ConvPass pass, Device device) {
  const auto list = conv2d_algorithms<T>(device);
  const Conv2dKernels<T>* best = list.back();
  double least = best->cost(g, pass);
  for (const auto* algorithm : list.first(list.size() - 1)) {
    if (!is_eligible(*algorithm, g, pass)) continue;
    if (const double cost = algorithm->cost(g, pass); cost < least) {
      best = algorithm;
      least = cost;
    }
  }
  return *best;
}

template <class T>
const Conv2dKernels<T>& choose_conv2d(const Conv2dGeometry& g, ConvPass pass, Device device) {
  if (const Conv2dKernels<T>* const pin = pinned_conv2d<T>(g, pass, device)) return *pin;
  if (device.is_cuda()) return cheapest_conv2d<T>(g, pass, device);  // what cuDNN accepts may change
  // Estimates take a tenth of a small convolution's time, and a network asks for the same ones again and again.
  struct Choice {
    Conv2dGeometry geometry;
    ConvPass pass = ConvPass::kForward;
    Device device;
    const Conv2dKernels<T>* algorithm = nullptr;
  };
  constexpr size_t kChoices = 32;
  thread_local std::array<Choice, kChoices> choices;
  size_t mixed = 0;  // whatever it overflows
  for (const int64_t part : {g.in_channels, g.out_channels, g.h.output, g.batch}) {
    mixed = mixed * 31 + static_cast<size_t>(part);
  }
  Choice& last = choices[(mixed * 3 + static_cast<size_t>(pass)) % kChoices];
  if (!last.algorithm || last.pass != pass || last.device != device || last.geometry != g) {
    last = {g, pass, device, &cheapest_conv2d<T>(g, pass, device)};
  }
  return *last.algorithm;
}

template std::span<const Conv2dKernels<float>* const> conv2d_algorithms(Device);
template std::span<const Conv2dKernels<double>* const> conv2d_algorithms(Device);
template const Conv2dKernels<float>* find_conv2d(Device, std::string_view);
template const Conv2dKernels<double>* find_conv2d(Device, std::string_view);
template const Conv2dKernels<float>* pinned_conv2d(const Conv2dGeometry&, ConvPass, Device);
template const Conv2dKernels<double>* pinned_conv2d(const Conv2dGeometry&, ConvPass, Device);
template bool is_eligible(const Conv2dKernels<float>&, const Conv2dGeometry&, ConvPass);
template bool is_eligible(const Conv2dKernels<double>&, const Conv2dGeometry&, ConvPass);
template const Conv2dKernels<float>& choose_conv2d(const Conv2dGeometry&, ConvPass, Device);
template const Conv2dKernels<double>& choose_conv2d(const Conv2dGeometry&, ConvPass, Device);

std::vector<std::string> conv_algorithms() {
  std::vector<std::string> names;
  for (const auto* algorithm : conv2d_algorithms<float>(Device())) names.emplace_back(algorithm->name);
  return names;
}

void set_conv_algorithm(std::string_view name) {
  const char* const known = name == "auto" ? nullptr : known_name(name);
  if (name != "auto" && !known) {
    std::string expected = "\"auto\"";
    for (const std::string& each : conv_algorithms()) expected += ", \"" + each + "\"";
    fail("set_conv_algorithm", "expected one of {}; got \"{}\".", expected, name);
  }
  pinned.store(known, std::memory_order_relaxed);
}

std::string conv_algorithm() {
  const char* const name = pinned.load(std::memory_order_relaxed);
  return name ? name : "auto";
}

}  // namespace cnnx
