// Device names, and what is asked of CUDA devices.
#include <charconv>
#include <cstdlib>
#include <memory>

#if !defined(_MSC_VER)
#include <cxxabi.h>
#endif

#include "check.h"
#include "cnnx/tensor_cores.h"
#include "cuda/library.h"
#include "kernels.h"

namespace cnnx {

Device::Device(std::string_view name) {
  const std::string_view base = name.substr(0, name.find(':'));
  const bool known = base == "cpu" || base == "cuda" || base == "meta";
  bool valid = known;
  if (known && base.size() < name.size()) {
    const std::string_view digits = name.substr(base.size() + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    valid = error == std::errc() && end == digits.data() + digits.size() && !digits.empty() && index >= 0 &&
            (base == "cuda" || index == 0);
  }
  check(valid, "device", "expected \"cpu\", \"cuda\", \"cuda:N\" or \"meta\"; got \"{}\".", name);
  type = base == "cuda" ? DeviceType::kCuda : base == "meta" ? DeviceType::kMeta : DeviceType::kCpu;
}

std::string Device::str() const { return is_cuda() ? "cuda:" + std::to_string(index) : is_meta() ? "meta" : "cpu"; }

namespace {

std::string readable(const std::type_info& type) {
#if defined(_MSC_VER)
  return type.name();
#else
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(type.name(), nullptr, nullptr, &status),
                                                    std::free);
  return text ? text.get() : type.name();
#endif
}

}  // namespace

const void* cuda_table(const std::type_info& type) {
  const void* table = cuda_library().table(type.name());
  check<CudaError>(table != nullptr, "cuda",
                   "this operation has no CUDA kernels yet ({}). Move its operands with .to(\"cpu\").", readable(type));
  return table;
}

void use_cuda_device(int device) { cuda_library().use_device(device); }

DeviceMemory cuda_memory(Device device) {
  check(device.is_cuda(), "cuda", "expected a CUDA device; got \"{}\".", device);
  check_cuda_device(device.index);
  size_t free = 0, total = 0;
  cuda_library().memory_info(device.index, &free, &total);
  return {static_cast<long long>(free), static_cast<long long>(total)};
}

std::string cuda_tensor_cores(Device device) {
  check(device.is_cuda(), "tensor_cores", "expected a CUDA device; got \"{}\".", device);
  if (!cuda_is_available()) return "";
  check_cuda_device(device.index);
  const char* const instructions = cuda_library().tensor_cores(device.index);
  return instructions ? instructions : "";
}

void synchronize(Device device) {
  if (!device.is_cuda()) return;
  check_cuda_device(device.index);
  cuda_library().synchronize(device.index);
}

}  // namespace cnnx
