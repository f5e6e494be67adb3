// The choice between wgmma and mma.sync: once for each device, by a check of all of wgmma's kernels.
//
// Factors of the check are small integers, so that all sums are exact: both ways must give the same values.
#include "cuda/tensor_cores.h"

#include <cstdlib>
#include <cstring>
#include <vector>

#include "cuda/device_state.h"
#include "cuda/matrix_product.h"
#include "ops/conv2d/tensor_core_cuda.h"

namespace cnnx::cuda {
namespace {

constexpr Precision kPrecisions[] = {Precision::kTF32, Precision::kBFloat16, Precision::kFloat16};

/// What multiplies on the calling thread while it checks.
enum class Trial : unsigned char { kNone, kMmaSync, kWgmmaSmall, kWgmmaLarge };
thread_local Trial trial = Trial::kNone;

struct TrialScope {
  explicit TrialScope(Trial of) { trial = of; }
  ~TrialScope() { trial = Trial::kNone; }
};

int attribute(cudaDeviceAttr which) {
  int value = 0;
  check_cuda(cudaDeviceGetAttribute(&value, which, device()), "cudaDeviceGetAttribute");
  return value;
}

/// -8 to 8 in no simple order.
void make_integers(int64_t count, float* values) {
  for_each(count, [=] __device__(int64_t i) { values[i] = static_cast<float>(i * 7919 % 8191 % 17 - 8); });
}
class Integers {
 public:
  explicit Integers(int64_t count) : memory_(count * static_cast<int64_t>(sizeof(float))) {
    make_integers(count, memory_.as<float>());
  }
  const float* data() const { return memory_.as<float>(); }

 private:
  Scratch memory_;
};

/// run(results) puts `count` values there; what they are, on the host.
template <class F>
std::vector<float> results_of(int64_t count, Trial how, const F& run) {
  const Scratch memory(count * static_cast<int64_t>(sizeof(float)));
  const TrialScope scope(how);
  run(memory.as<float>());
  std::vector<float> values(static_cast<size_t>(count));
  check_cuda(cudaMemcpyAsync(values.data(), memory.as<float>(), values.size() * sizeof(float), cudaMemcpyDeviceToHost,
                             stream()),
             "cudaMemcpyAsync");
  check_cuda(cudaStreamSynchronize(stream()), "a product by wgmma");
  return values;
}

/// Whether both tiles of wgmma's kernels give what mma.sync's give.
template <class F>
bool agrees(int64_t count, const F& run) {
  const std::vector<float> expected = results_of(count, Trial::kMmaSync, run);
  for (const Trial how : {Trial::kWgmmaSmall, Trial::kWgmmaLarge}) {
    if (results_of(count, how, run) != expected) return false;
  }
  return true;
}

/// Sizes that leave tiles unfilled both ways, and more steps than there are stages.
bool products_agree(Precision precision) {
  Product p{1, 70, 130, 200};
  p.precision = precision;
  const Integers a(p.m * p.k), b(p.k * p.n);
  return agrees(p.m * p.n, [&](float* c) { tensor_product(p, a.data(), b.data(), nullptr, c); });
}

bool convolutions_agree(Precision precision) {
  const Conv2dGeometry g{.batch = 2,
                         .in_channels = 23,
                         .out_channels = 70,
                         .h = {.input = 12, .kernel = 3, .pad_before = 1, .output = 12},
                         .w = {.input = 18, .kernel = 3, .stride = 2, .pad_before = 1, .output = 9},
                         .precision = precision};
  const Conv2dKernels<float>& kernels = tensor_core_conv2d(precision);
  const int64_t count = g.batch * g.out_channels * g.output_plane(), filters = g.out_channels * g.filter_size();
  const Integers x(g.batch * g.in_channels * g.input_plane()), w(filters), gy(count);
  const auto with_workspace = [&](ConvPass pass, const auto& run) {
    const Scratch workspace(kernels.workspace_bytes(g, pass));
    run(workspace.as<void>());
  };
  return agrees(count,
                [&](float* y) {
                  with_workspace(ConvPass::kForward,
                                 [&](void* space) { kernels.forward(g, x.data(), w.data(), {}, y, space); });
                }) &&
         agrees(filters, [&](float* gw) {
           with_workspace(ConvPass::kBackwardWeight,
                          [&](void* space) { kernels.backward_weight(g, x.data(), gy.data(), gw, space); });
         });
}

bool wgmma_works() {
  try {
    for (const Precision precision : kPrecisions) {
      if (!products_agree(precision) || !convolutions_agree(precision)) return false;
    }
    return true;
  } catch (const CudaError&) {  // mma.sync goes on where the device does
    return false;
  }
}

TensorCores find_out() {
  const int major = attribute(cudaDevAttrComputeCapabilityMajor), minor = attribute(cudaDevAttrComputeCapabilityMinor);
  if (major < 8) return TensorCores::kNone;
  const char* const wanted = std::getenv("CNNX_WGMMA");
  const bool may_have = major == 9 && minor == 0 && hopper_gemms(Precision::kTF32, HopperSize::k64x128) &&
                        !(wanted && std::strcmp(wanted, "0") == 0);
  return may_have && wgmma_works() ? TensorCores::kWgmma : TensorCores::kMmaSync;
}

TensorCores tensor_cores_of_device() {
  DeviceState& state = current();
  std::call_once(state.tensor_cores_known, [&] { state.tensor_cores = find_out(); });
  return state.tensor_cores;
}

/// The larger one where it fills the GPU.
HopperSize size_for(int64_t m, int64_t n, int64_t items) {
  const bool fills = ceil_div(m, 128) * ceil_div(n, 128) * items >= int64_t{2} * multiprocessors();
  return m > 64 && fills ? HopperSize::k128x128 : HopperSize::k64x128;
}

}  // namespace

const HopperGemms* wgmma_gemms(Precision precision, int64_t m, int64_t n, int64_t items) {
  switch (trial) {
    case Trial::kMmaSync: return nullptr;
    case Trial::kWgmmaSmall: return hopper_gemms(precision, HopperSize::k64x128);
    case Trial::kWgmmaLarge: return hopper_gemms(precision, HopperSize::k128x128);
    case Trial::kNone: break;
  }
  if (tensor_cores_of_device() != TensorCores::kWgmma) return nullptr;
  return hopper_gemms(precision, size_for(m, n, items));
}

const char* tensor_cores(int device) {
  use_device(device);
  switch (tensor_cores_of_device()) {
    case TensorCores::kWgmma: return "wgmma";
    case TensorCores::kMmaSync: return "mma.sync";
    default: return nullptr;
  }
}

void prepare_tensor_cores() { tensor_cores_of_device(); }

}  // namespace cnnx::cuda
