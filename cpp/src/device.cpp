// Device names.
#include <charconv>

#include "check.h"

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

}  // namespace cnnx
