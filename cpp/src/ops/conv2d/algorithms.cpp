// The list of convolution algorithms, the choice among them, and the pin of set_conv_algorithm().
#include <array>
#include <atomic>

#include "check.h"
#include "kernels.h"
#include "ops/conv2d/conv2d.h"
#include "storage.h"

namespace cnnx {
namespace {
std::atomic<int> pinned{-1};  // index into the CPU's list; -1 chooses by geometry

/// The algorithms of a GPU have the names of those of the CPU that they are like; cuDNN's are like none.
template <class T>
std::span<const Conv2dKernels<T>* const> cuda_algorithms(Device device) {
  static const std::array<const Conv2dKernels<T>*, 3> list{&cuda_kernels<DirectConv2d<T>>(device),
                                                           &cuda_kernels<CudnnConv2d<T>>(device),
                                                           &cuda_kernels<ImplicitGemmConv2d<T>>(device)};
  use_cuda_device(device.index);
  return list;
}

/// The pinned algorithm among those of a device, or null.
template <class T>
const Conv2dKernels<T>* find_pinned(std::span<const Conv2dKernels<T>* const> list) {
  const int pin = pinned.load(std::memory_order_relaxed);
  if (pin < 0) return nullptr;
  const std::string_view name = conv2d_algorithms<T>(Device())[static_cast<size_t>(pin)]->name;
  const auto found = std::find_if(list.begin(), list.end(), [&](const auto* each) { return each->name == name; });
  return found == list.end() ? nullptr : *found;
}
}  // namespace

template <class T>
std::span<const Conv2dKernels<T>* const> conv2d_algorithms(Device device) {
  static const std::array<const Conv2dKernels<T>*, 5> cpu{
      &cpu_kernels<DirectConv2d<T>>(), &cpu_kernels<WinogradConv2d<T>>(), &cpu_kernels<SmallWinogradConv2d<T>>(),
      &cpu_kernels<ImplicitGemmConv2d<T>>(), &cpu_kernels<Im2colConv2d<T>>()};
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
const Conv2dKernels<T>& choose_conv2d(const Conv2dGeometry& g, ConvPass pass, Device device) {
  const auto list = conv2d_algorithms<T>(device);
  const Conv2dKernels<T>* const pin = find_pinned<T>(list);
  const int64_t limit = workspace_limit();
  Conv2dGeometry alone = g;  // the choice must not depend on the number of threads
  alone.threads = 1;
  if (pin && pin->accepts(g, pass)) return *pin;
  const Conv2dKernels<T>* best = list.back();
  double least = best->cost(g, pass);
  for (const auto* algorithm : list.first(list.size() - 1)) {
    if (!algorithm->accepts(g, pass)) continue;
    if (limit < kNoWorkspaceLimit && algorithm->workspace_bytes(alone, pass) > limit) continue;
    if (const double cost = algorithm->cost(g, pass); cost < least) {
      best = algorithm;
      least = cost;
    }
  }
  return *best;
}

template std::span<const Conv2dKernels<float>* const> conv2d_algorithms(Device);
template std::span<const Conv2dKernels<double>* const> conv2d_algorithms(Device);
template const Conv2dKernels<float>& choose_conv2d(const Conv2dGeometry&, ConvPass, Device);
template const Conv2dKernels<double>& choose_conv2d(const Conv2dGeometry&, ConvPass, Device);

std::vector<std::string> conv_algorithms() {
  std::vector<std::string> names;
  for (const auto* algorithm : conv2d_algorithms<float>(Device())) names.emplace_back(algorithm->name);
  return names;
}

void set_conv_algorithm(std::string_view name) {
  const std::vector<std::string> names = conv_algorithms();
  const auto found = std::find(names.begin(), names.end(), name);
  std::string known = "\"auto\"";
  for (const std::string& each : names) known += ", \"" + each + "\"";
  check(name == "auto" || found != names.end(), "set_conv_algorithm", "expected one of {}; got \"{}\".", known, name);
  pinned.store(name == "auto" ? -1 : static_cast<int>(found - names.begin()), std::memory_order_relaxed);
}

std::string conv_algorithm() {
  const int pin = pinned.load(std::memory_order_relaxed);
  return pin < 0 ? "auto" : conv_algorithms()[static_cast<size_t>(pin)];
}

}  // namespace cnnx
