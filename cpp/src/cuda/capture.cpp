// Capturing CUDA graphs, and running them.
//
// A graph's kernels have addresses for arguments. So that they stay good, the graph keeps every buffer alive that they
// were given; so that a run does what the captured calls would do now, it is refused when a tensor has got another
// buffer since.
#include "cuda/capture.h"

#include <array>
#include <atomic>
#include <utility>

#include "check.h"
#include "cuda/library.h"
#include "tensor_impl.h"

namespace cnnx {
namespace {

constexpr const char* kOp = "graph";
thread_local Capture* capturing = nullptr;
std::atomic<uint64_t> mode_changes{0};

}  // namespace

Capture* capture_of_thread() { return capturing; }
bool is_capturing() { return current_capture() != nullptr; }
void keep_with_graph(std::shared_ptr<void> thing) {
  if (Capture* capture = current_capture()) capture->kept.push_back(std::move(thing));
}
void note_captured_write(Storage* storage) {
  Capture* capture = capturing;
  if (capture && storage->device() == capture->device && storage->pool() != capture->pool)
    capture->written.insert(storage);
}
void note_mode_change() { mode_changes.fetch_add(1, std::memory_order_relaxed); }

OutsideCapture::OutsideCapture() : capture_(std::exchange(capturing, nullptr)) {}
OutsideCapture::~OutsideCapture() { capturing = capture_; }

Capture::Capture(Device where)
    : device(where), pool(open_pool(where)), origin_(sizeof(uint64_t) * 2, where), modes_(mode_changes.load()) {}

Capture::~Capture() { close_pool(pool, device); }

void Capture::use(const std::shared_ptr<TensorImpl>& impl) {
  const std::shared_ptr<Storage>& storage = impl->storage;
  if (storage->device() != device || storage->pool() == pool) return;
  storages_.emplace(storage.get(), storage);
  users_.insert_or_assign(impl.get(), User{impl, storage.get()});
}

Philox Capture::draw(Device on) {
  check<std::runtime_error>(on == device, kOp,
                            "a captured function draws random numbers on {} alone, since the host's would be the same "
                            "in every run; got some on {}.",
                            device, on);
  return {0, streams_++, static_cast<const uint64_t*>(origin_.data())};
}

bool Capture::is_current() const {
  for (const auto& [impl, user] : users_) {
    const std::shared_ptr<TensorImpl> alive = user.impl.lock();
    if (alive && alive->storage.get() != user.storage) return false;
  }
  for (const auto& values : live) {
    if (!values->is_current()) return false;
  }
  return modes_ == mode_changes.load(std::memory_order_relaxed);
}

void Capture::prepare() {
  for (const auto& values : live) values->refresh();
  if (streams_ == 0) return;
  const Philox first = next_streams(streams_);
  const std::array<uint64_t, 2> origin{first.seed, first.offset};
  cuda_library().upload(device.index, origin_.data(), origin.data(), sizeof(origin));
}

void Capture::finish() {
  for (Storage* storage : written) {
    storage->bump_version();
    storage->note_access();
  }
}

CudaGraph::CudaGraph(Device device) : device_(device) {
  check(device.is_cuda(), kOp, "expected a CUDA device; got \"{}\".", device);
  check_cuda_device(device.index);
}

CudaGraph::~CudaGraph() {
  if (capture_ && capture_.get() == capturing) abandon();
  if (!graph_) return;
  try {
    cuda_library().release_graph(device_.index, graph_);
  } catch (const CudaError&) {  // a forked child leaves its parent's graphs alone
  }
}

void CudaGraph::begin() {
  check<std::runtime_error>(!capture_, kOp, "a graph is captured once. Make another one.");
  auto capture = std::make_unique<Capture>(device_);
  cuda_library().begin_capture(device_.index);
  capture_ = std::move(capture);
  capturing = capture_.get();
  captures_under_way.fetch_add(1);
}

void CudaGraph::end() {
  check<std::runtime_error>(capture_ && capture_.get() == capturing, kOp, "this thread does not capture this graph.");
  capturing = nullptr;
  captures_under_way.fetch_sub(1);
  graph_ = cuda_library().end_capture(device_.index, true);
}

void CudaGraph::abandon() noexcept {
  if (!capture_ || capture_.get() != capturing) return;
  capturing = nullptr;
  captures_under_way.fetch_sub(1);
  try {
    cuda_library().end_capture(device_.index, false);
  } catch (const std::exception&) {  // of a capture that has failed already
  }
  capture_.reset();
}

bool CudaGraph::is_current() const { return graph_ && capture_->is_current(); }

void CudaGraph::replay() {
  check<std::runtime_error>(graph_ != nullptr, kOp, "nothing was captured.");
  check<std::runtime_error>(!current_capture(), kOp, "a captured function cannot call another graph.");
  check<std::runtime_error>(
      capture_->is_current(), kOp,
      "what it works on has changed: a layer's mode, or the buffer of a tensor or of an optimizer. Capture again.");
  capture_->prepare();
  cuda_library().replay(device_.index, graph_);
  capture_->finish();
}

}  // namespace cnnx
