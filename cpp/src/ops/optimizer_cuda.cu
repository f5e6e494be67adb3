// The optimisers' updates on CUDA: all parameters of one rule in a few launches, their addresses as kernel arguments.
#include "ops/optimizer.h"

#include <cmath>

#include "cuda/fours.h"
#include "cuda/reduce.h"

namespace cnnx::cuda {
namespace {

constexpr int kTensors = 48;  // of a launch: what 4 KiB of arguments hold
constexpr int kGradients = 128;

/// One value of a parameter, and of its state, in registers.
template <class T>
struct Value {
  T w, g;
  T state[3];
};

template <class T>
struct Run {
  T* w;
  const T* g;
  T* state[3];
  int64_t n;
  bool fours;  // all begin where four values may be read at once
};
template <class T>
struct Runs {
  Run<T> run[kTensors];
};

/// The gradient of a weight that decays; in one that does not, infinity has no part.
template <class T>
__device__ T decayed(const Value<T>& v, T decay) {
  return v.g + decay * (decay != 0 ? v.w : T(0));
}

/// The updates, one value at a time, with the rule in the element type.
template <class T>
struct SGDUpdate {
  using Rule = SGDRule;
  __host__ __device__ explicit SGDUpdate(const SGDRule& r)
      : lr(static_cast<T>(r.lr)),
        decay(static_cast<T>(r.weight_decay)),
        momentum(static_cast<T>(r.momentum)),
        keep(r.first ? T(0) : static_cast<T>(r.momentum)),
        share(r.first ? T(1) : static_cast<T>(1 - r.dampening)),
        nesterov(r.nesterov) {}
  T lr, decay, momentum, keep, share;
  bool nesterov;

  __device__ void operator()(Value<T>* v, const Run<T>& run) const {
    T d = decayed(*v, decay);
    if (run.state[0]) {
      // A first step finds the buffer zeroed.
      const T velocity = keep * v->state[0] + share * d;
      v->state[0] = velocity;
      d = nesterov ? d + momentum * velocity : velocity;
    }
    v->w -= lr * d;
  }
};

template <class T>
struct AdamUpdate {
  using Rule = AdamRule;
  __host__ __device__ explicit AdamUpdate(const AdamRule& r)
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

  __device__ void operator()(Value<T>* v, const Run<T>&) const {
    const T d = decayed(*v, decay);
    const T mean = beta1 * v->state[0] + rest1 * d, square = beta2 * v->state[1] + rest2 * d * d;
    v->state[0] = mean;
    v->state[1] = square;
    v->w = shrink * v->w - step * mean / (std::sqrt(square) * root + eps);
  }
};

template <class T>
struct RMSpropUpdate {
  using Rule = RMSpropRule;
  __host__ __device__ explicit RMSpropUpdate(const RMSpropRule& r)
      : lr(static_cast<T>(r.lr)),
        alpha(static_cast<T>(r.alpha)),
        rest(static_cast<T>(1 - r.alpha)),
        eps(static_cast<T>(r.eps)),
        decay(static_cast<T>(r.weight_decay)),
        momentum(static_cast<T>(r.momentum)) {}
  T lr, alpha, rest, eps, decay, momentum;

  __device__ void operator()(Value<T>* v, const Run<T>& run) const {
    const T d = decayed(*v, decay), square = alpha * v->state[0] + rest * d * d;
    v->state[0] = square;
    T variance = square;
    if (run.state[2]) {
      const T mean = alpha * v->state[2] + rest * d;
      v->state[2] = mean;
      variance -= mean * mean;
    }
    T update = d / (std::sqrt(variance) + eps);
    if (run.state[1]) update = v->state[1] = momentum * v->state[1] + update;
    v->w -= lr * update;
  }
};

template <class T>
struct AdagradUpdate {
  using Rule = AdagradRule;
  __host__ __device__ explicit AdagradUpdate(const AdagradRule& r)
      : lr(static_cast<T>(r.lr)), eps(static_cast<T>(r.eps)), decay(static_cast<T>(r.weight_decay)) {}
  T lr, eps, decay;

  __device__ void operator()(Value<T>* v, const Run<T>&) const {
    const T d = decayed(*v, decay), square = v->state[0] + d * d;
    v->state[0] = square;
    v->w -= lr * d / (std::sqrt(square) + eps);
  }
};

template <class T, class Update>
__device__ void update_four(const Update& update, const Run<T>& run, int64_t at) {
  Four<T> w = four_at(run.w, at), state[3] = {};
  const Four<T> g = four_at(run.g, at);
#pragma unroll
  for (int s = 0; s < 3; ++s) {
    if (run.state[s]) state[s] = four_at(run.state[s], at);
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    Value<T> v{w.value[k], g.value[k], {state[0].value[k], state[1].value[k], state[2].value[k]}};
    update(&v, run);
    w.value[k] = v.w;
#pragma unroll
    for (int s = 0; s < 3; ++s) state[s].value[k] = v.state[s];
  }
  put_four(run.w, at, w);
#pragma unroll
  for (int s = 0; s < 3; ++s) {
    if (run.state[s]) put_four(run.state[s], at, state[s]);
  }
}

/// blockIdx.y is the tensor. The update is that of *live unless that is null.
template <class T, class Update>
__global__ void __launch_bounds__(kThreads)
    update_kernel(Runs<T> runs, Update given, const typename Update::Rule* live) {
  const Run<T>& run = runs.run[blockIdx.y];
  const Update update = live ? Update(*live) : given;
  const int64_t step = int64_t{gridDim.x} * kThreads, first = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t fours = run.fours ? run.n / 4 : 0;
  for (int64_t i = first; i < fours; i += step) update_four(update, run, i * 4);
  for (int64_t i = fours * 4 + first; i < run.n; i += step) {
    Value<T> v{run.w[i], run.g[i], {}};
    for (int s = 0; s < 3; ++s) {
      if (run.state[s]) v.state[s] = run.state[s][i];
    }
    update(&v, run);
    run.w[i] = v.w;
    for (int s = 0; s < 3; ++s) {
      if (run.state[s]) run.state[s][i] = v.state[s];
    }
  }
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
    const Rule* const live = pieces[next].live;
    Runs<T> runs{};
    int count = 0;
    int64_t longest = 0;
    for (; next < pieces.size() && pieces[next].rule == rule && pieces[next].live == live; ++next) {
      const Piece<T, Rule>& piece = pieces[next];
      if (count > 0 && continues(runs.run[count - 1], piece)) {
        runs.run[count - 1].n += piece.n;
      } else if (count < kTensors) {
        runs.run[count++] = {piece.w,
                             piece.g,
                             {piece.state[0], piece.state[1], piece.state[2]},
                             piece.n,
                             begin_fours(piece.w, piece.g, piece.state[0], piece.state[1], piece.state[2])};
      } else {
        break;
      }
      longest = std::max(longest, runs.run[count - 1].n);
    }
    dim3 grid = blocks_for(longest, 4);
    grid.y = static_cast<unsigned>(count);
    launch(update_kernel<T, Update>, grid, dim3(kThreads), 0, runs, Update(rule), live);
  }
}

template <class T>
void square_sum(int64_t n, const T* x, double* sum) {
  reduce_all(
      n, [=] __device__(int64_t i) { return static_cast<double>(x[i] * x[i]); }, Plus(), 0.0,
      [=] __device__(double total) { *sum = total; });
}

void clip_factor(int64_t count, const double* sums, double most, double* norm, double* factor) {
  reduce_all(
      count, [=] __device__(int64_t i) { return sums[i]; }, Plus(), 0.0,
      [=] __device__(double total) {
        *norm = std::sqrt(total);
        *factor = factor_to(most, *norm);
      });
}

template <class T>
void shrink(int64_t n, const double* factor, T* x) {
  for_each(n, [=] __device__(int64_t i) {
    if (!(*factor >= 1)) x[i] *= static_cast<T>(*factor);
  });
}

template <class T>
struct Gradients {
  GradientRun<T> run[kGradients];
};

/// blockIdx.y is the gradient. All who find a value that is not finite write the same.
template <class T>
__global__ void __launch_bounds__(kThreads) unscale_kernel(Gradients<T> gradients, T factor, int64_t* found) {
  const GradientRun<T>& run = gradients.run[blockIdx.y];
  const int64_t step = int64_t{gridDim.x} * kThreads, first = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  for (int64_t i = first; i < run.n; i += step) {
    const T g = run.g[i];
    if (!std::isfinite(g)) *found = 1;
    run.g[i] = g * factor;
  }
}

template <class T>
void unscale(std::span<const GradientRun<T>> runs, T factor, int64_t* found) {
  for (size_t first = 0; first < runs.size(); first += kGradients) {
    const auto some = runs.subspan(first, std::min<size_t>(kGradients, runs.size() - first));
    Gradients<T> gradients{};
    std::copy(some.begin(), some.end(), gradients.run);
    int64_t longest = 0;
    for (const GradientRun<T>& run : some) longest = std::max(longest, run.n);
    dim3 grid = blocks_for(longest);
    grid.y = static_cast<unsigned>(some.size());
    launch(unscale_kernel<T>, grid, dim3(kThreads), 0, gradients, factor, found);
  }
}

template <class T>
constexpr OptimizerKernels<T> kTable{run_pieces<SGDUpdate<T>, T, SGDRule>,
                                     run_pieces<AdamUpdate<T>, T, AdamRule>,
                                     run_pieces<RMSpropUpdate<T>, T, RMSpropRule>,
                                     run_pieces<AdagradUpdate<T>, T, AdagradRule>,
                                     square_sum<T>,
                                     clip_factor,
                                     shrink<T>,
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
