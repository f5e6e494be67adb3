// Convolution by cuDNN, where there is one. The epilogue is a pass of its own.
//
// cuDNN's heuristics choose its algorithm, without a measurement, so that a geometry has the same one in every run.
// Left out are those that add in no fixed order, and Winograd's and Fourier's, which lose digits. Factors of float32
// are not rounded to TF32 unless that was asked for; those of 16 bits are left to cnnx's own kernels.
#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <type_traits>

#include "cuda/cudnn.h"
#include "ops/conv2d/bias_cuda.h"
#include "ops/conv2d/implicit_gemm_cuda.h"

namespace cnnx::cuda {
namespace {

using cudnn::Descriptor;

constexpr size_t kMostWorkspace = size_t{1} << 30;
constexpr size_t kMostPlans = 1024;

/// For each pass its functions' names, and a bit for each algorithm that is left out.
struct PassRules {
  const char *find, *workspace, *run;
  unsigned left_out;
};
constexpr PassRules kRules[] = {{"choice of a forward algorithm", "workspace of a forward pass", "forward pass",
                                 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7},
                                {"choice of an algorithm for the gradient of x", "workspace for the gradient of x",
                                 "gradient of x", 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5},
                                {"choice of an algorithm for the gradient of w", "workspace for the gradient of w",
                                 "gradient of w", 1u << 2 | 1u << 4 | 1u << 5 | 1u << 6}};

using Owned = std::unique_ptr<void, cudnn::Status (*)(Descriptor)>;
Owned make_descriptor(cudnn::Status (*create)(Descriptor*), cudnn::Status (*destroy)(Descriptor)) {
  Descriptor made = nullptr;
  cudnn::check(create(&made), "descriptor");
  return {made, destroy};
}

constexpr int small(int64_t n) { return static_cast<int>(n); }  // accepts() has seen to it

Owned make_tensor(const cudnn::Library& api, int type, int64_t n, int64_t c, int64_t h, int64_t w) {
  Owned made = make_descriptor(api.create_tensor, api.destroy_tensor);
  cudnn::check(api.set_tensor(made.get(), cudnn::kNchw, type, small(n), small(c), small(h), small(w)), "tensor");
  return made;
}
Owned make_filter(const cudnn::Library& api, int type, const Conv2dGeometry& g) {
  Owned made = make_descriptor(api.create_filter, api.destroy_filter);
  cudnn::check(api.set_filter(made.get(), type, cudnn::kNchw, small(g.out_channels), small(g.group_in()),
                              small(g.h.kernel), small(g.w.kernel)),
               "filter");
  return made;
}
Owned make_convolution(const cudnn::Library& api, int type, const Conv2dGeometry& g) {
  Owned made = make_descriptor(api.create_convolution, api.destroy_convolution);
  cudnn::check(
      api.set_convolution(made.get(), small(g.h.pad_before), small(g.w.pad_before), small(g.h.stride),
                          small(g.w.stride), small(g.h.dilation), small(g.w.dilation), cudnn::kCrossCorrelation, type),
      "convolution");
  cudnn::check(api.set_groups(made.get(), small(g.groups)), "number of groups");
  return made;
}

/// How cuDNN runs one pass of one geometry; without an algorithm, not at all.
struct Plan {
  Owned a, b, result, convolution;
  int algorithm = -1;
  size_t workspace = 0;
};

std::mutex mutex;  // of handles in use, and of all plans

cudnn::Handle use_handle(const cudnn::Library& api) {
  const cudnn::Handle handle = cudnn::handle();
  cudnn::check(api.set_stream(handle, stream()), "change of streams");
  return handle;
}

/// Whether an algorithm may run on the units that the heuristics have in mind.
bool may_multiply(int math, bool needs_fma) {
  return math == cudnn::kDefaultMath || math == cudnn::kFmaMath || (math == cudnn::kTensorMath && !needs_fma);
}

/// What a plan may take. The limit is the geometry's, which stays from the choice to the run, whoever sets another one.
size_t most_workspace(const Conv2dGeometry& g) {
  return std::min(kMostWorkspace, static_cast<size_t>(g.workspace_limit));
}

/// The first of the algorithms found, the fastest by cuDNN's estimate, that may be used and needs no more than `most`.
void choose_algorithm(const cudnn::Library& api, ConvPass pass, bool needs_fma, size_t most, Plan& plan) {
  const cudnn::Pass& functions = api.passes[static_cast<int>(pass)];
  const PassRules& rules = kRules[static_cast<int>(pass)];
  const cudnn::Handle handle = use_handle(api);
  const Descriptor a = plan.a.get(), b = plan.b.get(), convolution = plan.convolution.get(), y = plan.result.get();
  cudnn::Found found[cudnn::kMostAlgorithms];
  int count = 0;
  const auto status = functions.find(handle, a, b, convolution, y, cudnn::kMostAlgorithms, &count, found);
  if (cudnn::is_unsupported(status)) return;
  cudnn::check(status, rules.find);
  for (const cudnn::Found& each : std::span(found, static_cast<size_t>(count))) {
    if (each.status != 0 || each.determinism != cudnn::kDeterministic || rules.left_out >> each.algorithm & 1 ||
        !may_multiply(each.math, needs_fma)) {
      continue;
    }
    cudnn::check(api.set_math(convolution, needs_fma ? cudnn::kFmaMath : each.math), "choice of units");
    size_t bytes = 0;
    const auto answer = functions.workspace(handle, a, b, convolution, y, each.algorithm, &bytes);
    if (cudnn::is_unsupported(answer)) continue;
    cudnn::check(answer, rules.workspace);
    if (bytes > most) continue;
    plan.algorithm = each.algorithm;
    plan.workspace = bytes;
    return;
  }
}

template <class T>
Plan make_plan(const cudnn::Library& api, const Conv2dGeometry& g, ConvPass pass) {
  constexpr int type = std::is_same_v<T, float> ? cudnn::kFloat32 : cudnn::kFloat64;
  const bool needs_fma = type == cudnn::kFloat32 && g.precision == Precision::kFull;
  Owned x = make_tensor(api, type, g.batch, g.in_channels, g.h.input, g.w.input);
  Owned y = make_tensor(api, type, g.batch, g.out_channels, g.h.output, g.w.output);
  Owned w = make_filter(api, type, g), how = make_convolution(api, type, g);
  cudnn::check(api.set_math(how.get(), needs_fma ? cudnn::kFmaMath : cudnn::kDefaultMath), "choice of units");
  Plan plan = pass == ConvPass::kForward         ? Plan{std::move(x), std::move(w), std::move(y), std::move(how)}
              : pass == ConvPass::kBackwardInput ? Plan{std::move(w), std::move(y), std::move(x), std::move(how)}
                                                 : Plan{std::move(x), std::move(y), std::move(w), std::move(how)};
  choose_algorithm(api, pass, needs_fma, most_workspace(g), plan);
  return plan;
}

/// The plan of a geometry on the calling thread's device, made once; used under the mutex.
template <class T>
const Plan& plan_of(const cudnn::Library& api, const Conv2dGeometry& g, ConvPass pass) {
  using Key = std::array<int64_t, 18>;
  static auto& plans = *new std::map<Key, Plan>;  // never destroyed: cuDNN may be gone at the process's end
  const WindowAxis &h = g.h, &w = g.w;
  const Key key{device(),
                static_cast<int64_t>(pass),
                static_cast<int64_t>(g.precision),
                static_cast<int64_t>(most_workspace(g)),
                g.batch,
                g.in_channels,
                g.out_channels,
                g.groups,
                h.input,
                h.kernel,
                h.stride,
                h.dilation,
                h.pad_before,
                w.input,
                w.kernel,
                w.stride,
                w.dilation,
                w.pad_before};
  if (const auto kept = plans.find(key); kept != plans.end()) return kept->second;
  if (plans.size() >= kMostPlans) plans.clear();
  return plans.emplace(key, make_plan<T>(api, g, pass)).first->second;
}

/// Whether the window falls as one of cuDNN does, which pads both ends alike.
bool is_plain(const WindowAxis& a) {
  return a.pad_before >= 0 && is_small(std::max({a.stride, a.dilation, a.extent(), a.input + 2 * a.pad_before})) &&
         a.input + 2 * a.pad_before >= a.extent() &&
         a.output == (a.input + 2 * a.pad_before - a.extent()) / a.stride + 1;
}

template <class T>
bool accepts(const Conv2dGeometry& g, ConvPass pass) {
  if (g.precision != Precision::kFull && g.precision != Precision::kTF32) return false;
  const int64_t input = g.batch * g.in_channels * g.input_plane(), output = g.batch * g.out_channels * g.output_plane();
  const int64_t weights = g.out_channels * g.filter_size();
  if (std::min({input, output, weights}) == 0 || !is_small(std::max({input, output, weights}))) return false;
  if (!is_plain(g.h) || !is_plain(g.w)) return false;
  const cudnn::Library* const api = cudnn::library();
  if (!api) return false;
  if (is_capturing() && !cudnn::has_handle()) return false;  // none could be made before
  const std::lock_guard lock(mutex);
  return plan_of<T>(*api, g, pass).algorithm >= 0;
}

/// Less than cnnx's own products, but for what DirectConv2d does: an assumption, not measured yet.
double cost(const Conv2dGeometry& g, ConvPass) {
  const double share = g.group_in() == 1 ? 8 : g.precision == Precision::kFull ? 0.5 : 0.125;
  return share * g.multiply_adds();
}

template <class T>
int64_t workspace_bytes(const Conv2dGeometry& g, ConvPass pass) {
  const std::lock_guard lock(mutex);
  return static_cast<int64_t>(plan_of<T>(*cudnn::library(), g, pass).workspace);
}

template <class T>
void run(const Conv2dGeometry& g, ConvPass pass, const T* a, const T* b, T* result, void* workspace) {
  const cudnn::Library& api = *cudnn::library();
  const T one = 1, zero = 0;
  const std::lock_guard lock(mutex);
  const Plan& plan = plan_of<T>(api, g, pass);
  const int index = static_cast<int>(pass);
  cudnn::check(api.passes[index].run(use_handle(api), &one, plan.a.get(), a, plan.b.get(), b, plan.convolution.get(),
                                     plan.algorithm, workspace, plan.workspace, &zero, plan.result.get(), result),
               kRules[index].run);
}

template <class T>
void forward(const Conv2dGeometry& g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y, void* workspace) {
  run(g, ConvPass::kForward, x, w, y, workspace);
  if (epilogue.is_identity()) return;
  add_parts<T>(1, g.batch * g.out_channels * g.output_plane(), y, g.output_plane(), g.out_channels, epilogue, y);
}
template <class T>
void backward_input(const Conv2dGeometry& g, const T* gy, const T* w, T* gx, void* workspace) {
  run(g, ConvPass::kBackwardInput, w, gy, gx, workspace);
}
template <class T>
void backward_weight(const Conv2dGeometry& g, const T* x, const T* gy, T* gw, void* workspace) {
  run(g, ConvPass::kBackwardWeight, x, gy, gw, workspace);
}

template <class T>
constexpr CudnnConv2d<T> kTable{{"cudnn", accepts<T>, cost, workspace_bytes<T>, nullptr, nullptr, forward<T>,
                                 backward_input<T>, backward_weight<T>, conv2d_bias_gradient<T>}};

}  // namespace

template <>
const CudnnConv2d<float>& table() {
  return kTable<float>;
}
template <>
const CudnnConv2d<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::cuda
