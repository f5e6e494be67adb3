// Buffers: where they come from, the products and derived values that they may stand for.
#include "storage.h"

#include <atomic>
#include <mutex>
#include <utility>

#include "check.h"
#include "cuda/capture.h"

namespace cnnx {
namespace {

thread_local Device default_device;
thread_local MemoryKind default_kind = MemoryKind::kActivation;

}  // namespace

MemoryKindGuard::MemoryKindGuard(MemoryKind kind) : previous_(std::exchange(default_kind, kind)) {}
MemoryKindGuard::~MemoryKindGuard() { default_kind = previous_; }

Storage::Storage(size_t bytes, Device device)
    : bytes_(bytes), device_(device == Device() ? default_device : device), kind_(default_kind) {
  block_ = allocate(bytes, device_, kind_);
}

Storage::Storage(void* data, size_t bytes, Device device, std::function<void()> release)
    : block_{data, bytes, 0}, bytes_(bytes), device_(device), release_(std::move(release)) {}

Storage::Storage(std::shared_ptr<const MatrixProduct> product, size_t bytes, Device device)
    : bytes_(bytes), device_(device), kind_(default_kind), is_product_(true), product_(std::move(product)) {}

Storage::~Storage() {
  if (release_) {
    release_();
  } else if (!is_product_) {
    deallocate(block_, bytes_, device_, kind_);
  }
}

std::shared_ptr<const MatrixProduct> Storage::product() const {
  const std::lock_guard lock(allocator_mutex(device_));  // which a forked child finds unlocked
  return product_;
}

void Storage::multiply_out() const {
  std::shared_ptr<const MatrixProduct> product = this->product();
  if (!product) return;
  Block block = allocate(bytes_, device_, kind_);
  product->multiply(*product, block.data);
  {
    const std::lock_guard lock(allocator_mutex(device_));
    if (product_) {
      std::swap(block_, block);
      product_.reset();  // `product` keeps it: it is freed after the lock is
      is_product_.store(false, std::memory_order_release);
    }
  }
  if (block.data) deallocate(block, bytes_, device_, kind_);  // another thread was first
}

std::shared_ptr<const DerivedValues> Storage::derived() const {
  if (may_change_unseen() || current_capture()) return nullptr;  // a graph must derive them anew in every run
  const std::lock_guard lock(allocator_mutex(device_));          // which a forked child finds unlocked
  return derived_ && derived_->stamp == stamp() ? derived_ : nullptr;
}

void Storage::set_derived(std::shared_ptr<DerivedValues> values) {
  if (values && current_capture()) return;
  const std::lock_guard lock(allocator_mutex(device_));
  has_derived_.store(values != nullptr, std::memory_order_relaxed);
  derived_.swap(values);  // the old ones are freed after the lock is
}

void Storage::set_kind(MemoryKind kind) {
  if (kind == kind_ || release_) return;
  if (!is_product_) change_kind(bytes_, device_, kind_, kind);
  kind_ = kind;
}

Workspace::Workspace(size_t bytes, Device device) {
  if (bytes == 0) return;
  const MemoryKindGuard guard(MemoryKind::kWorkspace);
  storage_ = std::make_unique<Storage>(bytes, device);
}

DeviceGuard::DeviceGuard(Device device) : previous_(default_device) {
  check(!device.is_cuda(), "device", "a block may be under \"cpu\" or \"meta\"; got \"{}\". Use .to(\"{}\").", device,
        device);
  default_device = device;
}
DeviceGuard::~DeviceGuard() { default_device = previous_; }
bool is_dry_run() { return default_device.is_meta(); }

namespace {
std::atomic<int64_t> largest_workspace{kNoWorkspaceLimit};
}
int64_t workspace_limit() { return largest_workspace.load(std::memory_order_relaxed); }
void set_workspace_limit(int64_t bytes) {
  check(bytes >= 0, "set_workspace_limit", "the limit must not be negative; got {}.", bytes);
  largest_workspace.store(bytes, std::memory_order_relaxed);
}

}  // namespace cnnx
