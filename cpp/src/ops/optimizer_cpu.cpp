// The optimisers' updates on the CPU.
#include "ops/optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels.h"
#include "ops/simd.h"
#include "parallel.h"

namespace cnnx::CNNX_ISA {
namespace {

/// Neighbouring values of a parameter, their gradients and their state.
template <class T>
struct Run {
  T* w;
  const T* g;
  std::array<T*, 3> state;
  int64_t n;
};

/// g[i] for i < n of the product's values from `at` on; each adds up its rows in order.
template <class T>
void multiply_out(const ProductRow<T>& p, int64_t at, int64_t n, T* g) {
  constexpr int kVectors = 8;
  int64_t i = 0;
  for (; i + kVectors * kLanes<T> <= n; i += kVectors * kLanes<T>) {
    Vector<T> sums[kVectors] = {};
    for (int64_t r = 0; r < p.rows; ++r) {
      const T left = p.left[r * p.left_step];
      const T* right = p.right + r * p.right_step + at + i;
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[v] += left * load(right + v * kLanes<T>);
    }
    for (int v = 0; v < kVectors; ++v) store(sums[v], g + i + v * kLanes<T>);
  }
  for (; i < n; ++i) {
    T sum = 0;
    for (int64_t r = 0; r < p.rows; ++r) sum += p.left[r * p.left_step] * p.right[r * p.right_step + at + i];
    g[i] = sum;
  }
}

/// Calls update(rule, run) for all values of the pieces. Products are multiplied out a little at a time, so that memory
/// is kept busy meanwhile. Few parameters stay with the caller's core: to hand over half of them, with gradients and
/// state, and to fetch them again in the next forward pass takes longer than to update them.
template <class T, class Rule, class F>
void for_each_run(std::span<const Piece<T, Rule>> pieces, F update) {
  constexpr int64_t kFew = 1 << 17, kProductRun = 512;
  const auto count = static_cast<int64_t>(pieces.size());
  int64_t values = 0;
  for (const Piece<T, Rule>& piece : pieces) values += piece.n;
  parallel_for(count, values < kFew ? count : 1, [&](int64_t begin, int64_t end) {
    T product[kProductRun];
    for (int64_t i = begin; i < end; ++i) {
      const Piece<T, Rule>& piece = pieces[static_cast<size_t>(i)];
      Run<T> run{piece.w, piece.g, {piece.state[0], piece.state[1], piece.state[2]}, piece.n};
      if (piece.g) {
        update(piece.rule, run);
        continue;
      }
      run.g = product;
      for (int64_t at = 0; at < piece.n; at += run.n) {
        run.n = std::min(kProductRun, piece.n - at);
        multiply_out(piece.product, at, run.n, product);
        update(piece.rule, run);
        run.w += run.n;
        for (T*& state : run.state) state += state ? run.n : 0;
      }
    }
  });
}

template <class T>
void sgd(std::span<const Piece<T, SGDRule>> pieces) {
  for_each_run(pieces, [](const SGDRule& rule, const Run<T>& run) {
    const T* const g = run.g;
    const T lr = static_cast<T>(rule.lr), decay = static_cast<T>(rule.weight_decay),
            momentum = static_cast<T>(rule.momentum);
    T* w = run.w;
    T* buffer = run.state[0];
    if (!buffer) {
      for (int64_t i = 0; i < run.n; ++i) w[i] -= lr * (g[i] + decay * w[i]);
      return;
    }
    const T keep = rule.first ? T(0) : momentum, share = rule.first ? T(1) : static_cast<T>(1 - rule.dampening);
    for (int64_t i = 0; i < run.n; ++i) {
      const T d = g[i] + decay * w[i];
      const T velocity = keep * buffer[i] + share * d;
      buffer[i] = velocity;
      w[i] -= lr * (rule.nesterov ? d + momentum * velocity : velocity);
    }
  });
}

template <class T>
void adam(std::span<const Piece<T, AdamRule>> pieces) {
  for_each_run(pieces, [](const AdamRule& rule, const Run<T>& run) {
    const T* const g = run.g;
    const T beta1 = static_cast<T>(rule.beta1), beta2 = static_cast<T>(rule.beta2), eps = static_cast<T>(rule.eps);
    const T rest1 = static_cast<T>(1 - rule.beta1), rest2 = static_cast<T>(1 - rule.beta2);
    const T step = static_cast<T>(rule.lr / rule.correction1), root = static_cast<T>(1 / std::sqrt(rule.correction2));
    const T shrink = rule.decoupled ? static_cast<T>(1 - rule.lr * rule.weight_decay) : T(1);
    const T decay = rule.decoupled ? T(0) : static_cast<T>(rule.weight_decay);
    T* w = run.w;
    T *mean = run.state[0], *square = run.state[1];
    for (int64_t i = 0; i < run.n; ++i) {
      const T value = shrink * w[i], d = g[i] + decay * w[i];
      mean[i] = beta1 * mean[i] + rest1 * d;
      square[i] = beta2 * square[i] + rest2 * d * d;
      w[i] = value - step * mean[i] / (std::sqrt(square[i]) * root + eps);
    }
  });
}

template <class T>
void rmsprop(std::span<const Piece<T, RMSpropRule>> pieces) {
  for_each_run(pieces, [](const RMSpropRule& rule, const Run<T>& run) {
    const T* const g = run.g;
    const T lr = static_cast<T>(rule.lr), alpha = static_cast<T>(rule.alpha), rest = static_cast<T>(1 - rule.alpha);
    const T eps = static_cast<T>(rule.eps), decay = static_cast<T>(rule.weight_decay),
            momentum = static_cast<T>(rule.momentum);
    T *square = run.state[0], *buffer = run.state[1], *mean = run.state[2];
    for (int64_t i = 0; i < run.n; ++i) {
      const T d = g[i] + decay * run.w[i];
      square[i] = alpha * square[i] + rest * d * d;
      T variance = square[i];
      if (mean) {
        mean[i] = alpha * mean[i] + rest * d;
        variance -= mean[i] * mean[i];
      }
      T update = d / (std::sqrt(variance) + eps);
      if (buffer) update = buffer[i] = momentum * buffer[i] + update;
      run.w[i] -= lr * update;
    }
  });
}

template <class T>
void adagrad(std::span<const Piece<T, AdagradRule>> pieces) {
  for_each_run(pieces, [](const AdagradRule& rule, const Run<T>& run) {
    const T* const g = run.g;
    const T lr = static_cast<T>(rule.lr), eps = static_cast<T>(rule.eps), decay = static_cast<T>(rule.weight_decay);
    T* w = run.w;
    T* square = run.state[0];
    for (int64_t i = 0; i < run.n; ++i) {
      const T d = g[i] + decay * w[i];
      square[i] += d * d;
      w[i] -= lr * d / (std::sqrt(square[i]) + eps);
    }
  });
}

template <class T>
void square_sum(int64_t n, const T* x, double* sum) {
  constexpr int64_t kRun = 4096;  // added up in T, the runs in double
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kRun) {
    T run = 0;
#pragma omp simd reduction(+ : run)
    for (int64_t i = begin; i < std::min(n, begin + kRun); ++i) run += x[i] * x[i];
    total += static_cast<double>(run);
  }
  *sum = total;
}

void clip_factor(int64_t count, const double* sums, double most, double* norm, double* factor) {
  double total = 0;
  for (int64_t i = 0; i < count; ++i) total += sums[i];
  *norm = std::sqrt(total);
  *factor = factor_to(most, *norm);
}

template <class T>
void shrink(int64_t n, const double* by, T* x) {
  if (*by >= 1) return;
  const T factor = static_cast<T>(*by);
  parallel_for(n, kElementGrain, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) x[i] *= factor;
  });
}

template <class T>
void unscale(std::span<const GradientRun<T>> runs, T factor, int64_t* found) {
  for (const GradientRun<T>& run : runs) {
    parallel_for(run.n, kElementGrain, [&](int64_t begin, int64_t end) {
      T zeros = 0;  // NaN as soon as one value is not finite
#pragma omp simd reduction(+ : zeros)
      for (int64_t i = begin; i < end; ++i) {
        zeros += run.g[i] * T(0);
        run.g[i] *= factor;
      }
      if (zeros != 0) __atomic_store_n(found, 1, __ATOMIC_RELAXED);
    });
  }
}

template <class T>
constexpr OptimizerKernels<T> kTable{sgd<T>,        adam<T>,     rmsprop<T>, adagrad<T>,
                                     square_sum<T>, clip_factor, shrink<T>,  unscale<T>};

}  // namespace

template <>
const OptimizerKernels<float>& table() {
  return kTable<float>;
}
template <>
const OptimizerKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
