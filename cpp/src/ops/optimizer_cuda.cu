// The optimisers' updates on CUDA: all parameters of one rule in a few launches, their addresses as kernel arguments.
#include "ops/optimizer.h"

#include <cmath>
#include <vector>

#include "cuda/reduce.h"

namespace cnnx::cuda {
namespace {

constexpr int kTensors = 48;  // of a launch: what 4 KiB of arguments hold
constexpr int kGradients = 128;

template <class T>
struct Run {
  T* w;
  const T* g;
  T* state[3];
  int64_t n;
};
template <class T>
struct Runs {
  Run<T> run[kTensors];
};

/// The updates, one value at a time. Rules come in the element type.
template <class T>
struct SGDUpdate {
  explicit SGDUpdate(const SGDRule& r)
      : lr(static_cast<T>(r.lr)),
        decay(static_cast<T>(r.weight_decay)),
        momentum(static_cast<T>(r.momentum)),
        keep(r.first ? T(0) : static_cast<T>(r.momentum)),
        share(r.first ? T(1) : static_cast<T>(1 - r.dampening)),
        nesterov(r.nesterov) {}
  T lr, decay, momentum, keep, share;
  bool nesterov;

  __device__ void operator()(const Run<T>& run, int64_t i) const {
    const T w = run.w[i];
    T d = run.g[i] + decay * w;
    if (T* const buffer = run.state[0]) {
      // A first step finds the buffer zeroed.
      const T velocity = keep * buffer[i] + share * d;
      buffer[i] = velocity;
      d = nesterov ? d + momentum * velocity : velocity;
    }
    run.w[i] = w - lr * d;
  }
};

template <class T>
struct AdamUpdate {
  explicit AdamUpdate(const AdamRule& r)
      : beta1(static_cast<T>(r.beta1)),
        beta2(static_cast<T>(r.beta2)),
        rest1(static_cast<T>(1 - r.beta1)),
        rest2(static_cast<T>(1 - r.beta2)),
        eps(static_cast<T>(r.eps)),
        step(static_cast<T>(r.lr / r.correction1)),
        root(static_cast<T>(1 / std::sqrt(r.correction2))),
        shrink(r.decoupled ? static_cast<T>(1 - r.lr * r.weight_decay) : T(1)),
        decay(r.decoupled ? T(0) : static_cast<T>(r.weight_decay)) {}
  T beta1, beta2, rest1, rest2, eps, step, root, shrink, decay;

  __device__ void operator()(const Run<T>& run, int64_t i) const {
    const T w = run.w[i], d = run.g[i] + decay * w;
    const T mean = beta1 * run.state[0][i] + rest1 * d, square = beta2 * run.state[1][i] + rest2 * d * d;
    run.state[0][i] = mean;
    run.state[1][i] = square;
    run.w[i] = shrink * w - step * mean / (std::sqrt(square) * root + eps);
  }
};

template <class T>
struct RMSpropUpdate {
  explicit RMSpropUpdate(const RMSpropRule& r)
      : lr(static_cast<T>(r.lr)),
        alpha(static_cast<T>(r.alpha)),
        rest(static_cast<T>(1 - r.alpha)),
        eps(static_cast<T>(r.eps)),
        decay(static_cast<T>(r.weight_decay)),
        momentum(static_cast<T>(r.momentum)) {}
  T lr, alpha, rest, eps, decay, momentum;

  __device__ void operator()(const Run<T>& run, int64_t i) const {
    const T w = run.w[i], d = run.g[i] + decay * w, square = alpha * run.state[0][i] + rest * d * d;
    run.state[0][i] = square;
    T variance = square;
    if (run.state[2]) {
      const T mean = alpha * run.state[2][i] + rest * d;
      run.state[2][i] = mean;
      variance -= mean * mean;
    }
    T update = d / (std::sqrt(variance) + eps);
    if (run.state[1]) update = run.state[1][i] = momentum * run.state[1][i] + update;
    run.w[i] = w - lr * update;
  }
};

template <class T>
struct AdagradUpdate {
  explicit AdagradUpdate(const AdagradRule& r)
      : lr(static_cast<T>(r.lr)), eps(static_cast<T>(r.eps)), decay(static_cast<T>(r.weight_decay)) {}
  T lr, eps, decay;

  __device__ void operator()(const Run<T>& run, int64_t i) const {
    const T w = run.w[i], d = run.g[i] + decay * w, square = run.state[0][i] + d * d;
    run.state[0][i] = square;
    run.w[i] = w - lr * d / (std::sqrt(square) + eps);
  }
};

/// blockIdx.y is the tensor.
template <class T, class Update>
__global__ void __launch_bounds__(kThreads) update_kernel(Runs<T> runs, Update update) {
  const Run<T>& run = runs.run[blockIdx.y];
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < run.n; i += step) update(run, i);
}

/// Whether b goes on where a ends.
template <class T, class Rule>
bool continues(const Run<T>& a, const Piece<T, Rule>& b) {
  for (int i = 0; i < 3; ++i) {
    if (a.state[i] ? a.state[i] + a.n != b.state[i] : b.state[i] != nullptr) return false;
  }
  return a.w + a.n == b.w && a.g + a.n == b.g;
}

template <class Update, class T, class Rule>
void run_pieces(std::span<const Piece<T, Rule>> pieces) {
  for (size_t next = 0; next < pieces.size();) {
    const Rule& rule = pieces[next].rule;
    Runs<T> runs{};
    int count = 0;
    int64_t longest = 0;
    for (; next < pieces.size() && pieces[next].rule == rule; ++next) {
      const Piece<T, Rule>& piece = pieces[next];
      if (count > 0 && continues(runs.run[count - 1], piece)) {
        runs.run[count - 1].n += piece.n;
      } else if (count < kTensors) {
        runs.run[count++] = {piece.w, piece.g, {piece.state[0], piece.state[1], piece.state[2]}, piece.n};
      } else {
        break;
      }
      longest = std::max(longest, runs.run[count - 1].n);
    }
    dim3 grid = blocks_for(longest);
    grid.y = static_cast<unsigned>(count);
    launch(update_kernel<T, Update>, grid, dim3(kThreads), 0, runs, Update(rule));
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) square_sums(int64_t n, const T* x, double* parts) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  double sum = 0;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < n; i += step) {
    sum += static_cast<double>(x[i] * x[i]);
  }
  sum = reduce_block(sum, Plus());
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

/// Waits for the GPU: the caller wants a number.
template <class T>
double square_sum(int64_t n, const T* x) {
  if (n == 0) return 0;
  const dim3 grid = blocks_for(n, 16);
  const Scratch parts(int64_t{grid.x} * static_cast<int64_t>(sizeof(double)));
  launch(square_sums<T>, grid, dim3(kThreads), 0, n, x, parts.as<double>());
  std::vector<double> host(grid.x);
  check_cuda(
      cudaMemcpyAsync(host.data(), parts.as<double>(), host.size() * sizeof(double), cudaMemcpyDeviceToHost, stream()),
      "a copy");
  check_cuda(cudaStreamSynchronize(stream()), "a copy");
  double total = 0;
  for (const double part : host) total += part;
  return total;
}

template <class T>
void scale(int64_t n, T factor, T* x) {
  for_each(n, [=] __device__(int64_t i) { x[i] *= factor; });
}

template <class T>
struct Gradients {
  GradientRun<T> run[kGradients];
};

/// blockIdx.y is the gradient. All who find a value that is not finite write the same.
template <class T>
__global__ void __launch_bounds__(kThreads) unscale_kernel(Gradients<T> gradients, T factor, int* found) {
  const GradientRun<T>& run = gradients.run[blockIdx.y];
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < run.n; i += step) {
    const T g = run.g[i];
    if (!std::isfinite(g)) *found = 1;
    run.g[i] = g * factor;
  }
}

/// Waits for the GPU: the caller wants to know.
template <class T>
bool unscale(std::span<const GradientRun<T>> runs, T factor) {
  const Scratch found(sizeof(int));
  check_cuda(cudaMemsetAsync(found.as<int>(), 0, sizeof(int), stream()), "cudaMemsetAsync");
  for (size_t first = 0; first < runs.size(); first += kGradients) {
    const auto some = runs.subspan(first, std::min<size_t>(kGradients, runs.size() - first));
    Gradients<T> gradients{};
    std::copy(some.begin(), some.end(), gradients.run);
    int64_t longest = 0;
    for (const GradientRun<T>& run : some) longest = std::max(longest, run.n);
    dim3 grid = blocks_for(longest);
    grid.y = static_cast<unsigned>(some.size());
    launch(unscale_kernel<T>, grid, dim3(kThreads), 0, gradients, factor, found.as<int>());
  }
  int host = 0;
  check_cuda(cudaMemcpyAsync(&host, found.as<int>(), sizeof(int), cudaMemcpyDeviceToHost, stream()), "a copy");
  check_cuda(cudaStreamSynchronize(stream()), "a copy");
  return host != 0;
}

template <class T>
constexpr OptimizerKernels<T> kTable{run_pieces<SGDUpdate<T>, T, SGDRule>,
                                     run_pieces<AdamUpdate<T>, T, AdamRule>,
                                     run_pieces<RMSpropUpdate<T>, T, RMSpropRule>,
                                     run_pieces<AdagradUpdate<T>, T, AdagradRule>,
                                     square_sum<T>,
                                     scale<T>,
                                     unscale<T>};

}  // namespace

template <>
const OptimizerKernels<float>& table() {
  return kTable<float>;
}
template <>
const OptimizerKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::cuda
