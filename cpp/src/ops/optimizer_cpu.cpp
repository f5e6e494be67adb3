// The optimisers' updates on the CPU.
#include "ops/optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels.h"
#include "ops/gemm_tile.h"
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

/// g[k * step + i] = the block's values in the columns from `at` on.
template <class T>
void multiply_out(const ProductBlock<T>& p, int64_t at, int64_t cols, int64_t step, T* g) {
  if (p.rows == 1 && p.depth == 1) {
    const T left = *p.left, *right = p.right + at;
    for (int64_t i = 0; i < cols; ++i) g[i] = T(0) + left * right[i];  // a sum is never -0
    return;
  }
  for (int64_t j = 0; j < cols; j += kTileCols<T>) {
    multiply_panel<LeftOrder::kColumns>(p.rows, std::min(kTileCols<T>, cols - j), p.depth, p.left, p.left_step,
                                        p.right + at + j, p.right_step, g + j, step, false);
  }
}

/// Calls update(rule, run) for the rows of a product, which is multiplied out a little at a time; meanwhile what the
/// update reads is fetched from memory.
template <class T, class Rule, class F>
void for_each_row(const Piece<T, Rule>& piece, const F& update) {
  constexpr int64_t kCols = 5 * kTileCols<T>, kValues = ProductBlock<T>::kMostRows * kCols, kLine = 64 / sizeof(T);
  const ProductBlock<T>& p = piece.product;
  T g[kValues];
  const int64_t step = p.rows == 1 ? std::min<int64_t>(512, kValues) : kCols;
  for (int64_t at = 0; at < piece.n; at += step) {
    const int64_t cols = std::min(step, piece.n - at);
    const auto row = [&](int64_t k) {
      const int64_t to = k * p.right_step + at;
      Run<T> run{piece.w + to, g + k * step, {}, cols};
      for (size_t i = 0; i < 3; ++i) run.state[i] = piece.state[i] ? piece.state[i] + to : nullptr;
      return run;
    };
    for (int64_t k = 0; p.rows > 1 && k < p.rows; ++k) {
      const Run<T> next = row(k);
      for (int64_t i = 0; i < cols; i += kLine) {
        __builtin_prefetch(next.w + i, 1);
        for (T* const state : next.state) {
          if (state) __builtin_prefetch(state + i, 1);
        }
      }
    }
    multiply_out(p, at, cols, step, g);
    for (int64_t k = 0; k < p.rows; ++k) update(piece.rule, row(k));
  }
}

/// Calls update(rule, run) for all values of the pieces. Few parameters stay with the caller's core: to hand over half
/// of them, with gradients and state, and to fetch them again in the next forward pass takes longer than to update
/// them.
template <class T, class Rule, class F>
void for_each_run(std::span<const Piece<T, Rule>> pieces, F update) {
  constexpr int64_t kFew = 1 << 17;
  const auto count = static_cast<int64_t>(pieces.size());
  int64_t values = 0;
  for (const Piece<T, Rule>& piece : pieces) values += piece.g ? piece.n : piece.n * piece.product.rows;
  parallel_for(count, values < kFew ? count : 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Piece<T, Rule>& piece = pieces[static_cast<size_t>(i)];
      if (piece.g) {
        update(piece.rule, Run<T>{piece.w, piece.g, {piece.state[0], piece.state[1], piece.state[2]}, piece.n});
      } else {
        for_each_row(piece, update);
      }
    }
  });
}

/// The gradient of a weight that decays; in one that does not, infinity has no part.
template <class T>
T decayed(T g, T decay, T w) {
  return decay != 0 ? g + decay * w : g;
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
      for (int64_t i = 0; i < run.n; ++i) w[i] -= lr * decayed(g[i], decay, w[i]);
      return;
    }
    const T keep = rule.first ? T(0) : momentum, share = rule.first ? T(1) : static_cast<T>(1 - rule.dampening);
    for (int64_t i = 0; i < run.n; ++i) {
      const T d = decayed(g[i], decay, w[i]);
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
      const T value = shrink * w[i], d = decayed(g[i], decay, w[i]);
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
      const T d = decayed(g[i], decay, run.w[i]);
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
      const T d = decayed(g[i], decay, w[i]);
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
