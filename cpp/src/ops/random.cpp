// The global generator, and rand, randn and in-place random filling.
#include "random.h"

#include <atomic>
#include <utility>

#include "check.h"
#include "cuda/capture.h"
#include "kernels.h"
#include "ops/random_kernels.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {
std::atomic<uint64_t> global_seed{0};
std::atomic<uint64_t> streams{0};
thread_local StreamTapeGuard* tape = nullptr;  // the innermost

Philox draw(StreamTapeGuard* from, Device device) {
  if (from) return from->next(device);
  if (is_dry_run()) return {};
  if (Capture* capture = current_capture()) return capture->draw(device);
  return next_streams(1);
}
}  // namespace

void manual_seed(uint64_t seed) {
  global_seed.store(seed);
  streams.store(0);
}

Philox next_stream(Device device) { return draw(tape, device); }
Philox next_streams(uint64_t count) { return {global_seed.load(), streams.fetch_add(count)}; }

Philox StreamTape::record(const Philox& stream) { return streams_.emplace_back(stream); }

Philox StreamTape::replay() {
  check<std::runtime_error>(next_ < streams_.size(), "checkpoint",
                            "the module drew more random numbers the second time than the first.");
  return streams_[next_++];
}

StreamTapeGuard::StreamTapeGuard(StreamTape& streams_of, Mode mode)
    : tape_(streams_of), mode_(mode), outer_(std::exchange(tape, this)) {
  if (mode == Mode::kReplay) tape_.rewind();
}
StreamTapeGuard::~StreamTapeGuard() { tape = outer_; }
Philox StreamTapeGuard::next(Device device) {
  return mode_ == Mode::kReplay ? tape_.replay() : tape_.record(draw(outer_, device));
}

namespace {
/// The largest number of T below a number.
template <class T>
double below(double bound) {
  const T nearest(bound);
  if (static_cast<double>(nearest) < bound) return nearest;
  T result;
  result.bits = nearest == 0 ? uint16_t{0x8001} : static_cast<uint16_t>(nearest.bits + (nearest > 0 ? -1 : 1));
  return result;
}
}  // namespace

void fill_uniform(Tensor& x, double low, double high) {
  check_floating("uniform", x);
  if (is_16_bit(x)) {
    const double most = x.dtype() == DType::kFloat16 ? below<float16>(high) : below<bfloat16>(high);
    return change_in_float32(x, [&](Tensor& wide) {
      fill_uniform(wide, low, high);
      if (low < high) wide = clip(wide, std::nullopt, most);  // none may be rounded to the bound
    });
  }
  dispatch_floating(x.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<RandomKernels<T>>(x.device())
        .uniform(x.numel(), next_stream(x.device()), static_cast<T>(low), static_cast<T>(high), x.data<T>());
  });
  x.impl()->storage->bump_version();
}

void fill_normal(Tensor& x, double mean, double std) {
  check_floating("normal", x);
  if (is_16_bit(x)) return change_in_float32(x, [&](Tensor& wide) { fill_normal(wide, mean, std); });
  dispatch_floating(x.dtype(), [&](auto t) {
    using T = decltype(t);
    kernels<RandomKernels<T>>(x.device())
        .normal(x.numel(), next_stream(x.device()), static_cast<T>(mean), static_cast<T>(std), x.data<T>());
  });
  x.impl()->storage->bump_version();
}

namespace {
template <class Fill>
Tensor filled(const char* op, const Shape& shape, const TensorOptions& options, Fill fill) {
  check(is_floating(options.dtype), op, "random values are floating-point numbers; got {}.", options.dtype);
  Tensor x = empty(shape, {options.dtype, options.device});
  fill(x);
  return x.set_requires_grad(options.requires_grad);
}
}  // namespace

Tensor rand(const Shape& shape, TensorOptions options) {
  return filled("rand", shape, options, [](Tensor& x) { fill_uniform(x, 0, 1); });
}
Tensor randn(const Shape& shape, TensorOptions options) {
  return filled("randn", shape, options, [](Tensor& x) { fill_normal(x, 0, 1); });
}

}  // namespace cnnx
