// Resampling on the CPU, by runs of rows. Both passes work on whole rows first and along the row afterwards, so that
// the indexed part is as short as it can be.
#include "ops/resample.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels.h"
#include "parallel.h"
#include "rounding.h"

namespace cnnx::CNNX_ISA {
namespace {

/// The longest run of outputs [begin, end) whose inputs are neighbours, too: a row's middle, copied as one piece.
struct Run {
  int64_t begin = 0, end = 0;
};
template <class T>
Run longest_run(const ResampleAxis<T>& a) {
  Run best;
  for (int64_t begin = 0, o = 1; o <= a.output; ++o) {
    if (o < a.output && a.first[o] == a.first[o - 1] + 1) continue;
    if (o - begin > best.end - best.begin) best = {begin, o};
    begin = o;
  }
  return best;
}

/// Values of one thread's workspace: two rows.
template <class T>
int64_t slot_values(const ResampleGeometry<T>& g) {
  return 2 * round_up(g.w.output, 16);
}
template <class T>
int64_t workspace_bytes(const ResampleGeometry<T>& g) {
  return g.threads * slot_values(g) * static_cast<int64_t>(sizeof(T));
}

/// Calls fn(first row, last, two rows of workspace) for runs of the rows of all planes.
template <class T, class F>
void for_each_run(const ResampleGeometry<T>& g, int64_t rows, int64_t row_values, void* workspace, F fn) {
  const int64_t run = item_grain(row_values), slot_size = slot_values(g);
  parallel_slots(ceil_div(rows, run), g.threads, [&](int64_t unit, int slot) {
    fn(unit * run, std::min(rows, (unit + 1) * run), static_cast<T*>(workspace) + slot * slot_size);
  });
}

// ---- Forward

template <class T>
void pick_row(const ResampleAxis<T>& a, Run run, const T* x, T* y) {
  for (int64_t o = 0; o < run.begin; ++o) y[o] = x[a.first[o]];
  std::memcpy(y + run.begin, x + a.first[run.begin], static_cast<size_t>(run.end - run.begin) * sizeof(T));
  for (int64_t o = run.end; o < a.output; ++o) y[o] = x[a.first[o]];
}

template <class T>
void pick(const ResampleGeometry<T>& g, const T* x, T* y, void* workspace) {
  const Run run = longest_run(g.w);
  for_each_run(g, g.planes * g.h.output, g.w.output, workspace, [&](int64_t begin, int64_t end, T*) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t oh = row % g.h.output;
      T* const to = y + row * g.w.output;
      if (row > begin && oh > 0 && g.h.first[oh] == g.h.first[oh - 1]) {
        std::memcpy(to, to - g.w.output, static_cast<size_t>(g.w.output) * sizeof(T));
      } else {
        pick_row(g.w, run, x + (row / g.h.output * g.h.input + g.h.first[oh]) * g.w.input, to);
      }
    }
  });
}

template <class T>
void blend_row(const ResampleAxis<T>& a, const T* x, T* y) {
  for (int64_t o = 0; o < a.output; ++o) {
    const T weight = a.weight[o];
    y[o] = (T(1) - weight) * x[a.first[o]] + weight * x[a.second(o)];
  }
}

template <class T>
void blend(const ResampleGeometry<T>& g, const T* x, T* y, void* workspace) {
  for_each_run(g, g.planes * g.h.output, g.w.output, workspace, [&](int64_t begin, int64_t end, T* rows) {
    int64_t kept[2] = {-1, -1};  // input rows (of all planes) that the workspace has, by parity, at the output's width
    const auto input_row = [&](int64_t row) {
      T* const at = rows + row % 2 * (slot_values(g) / 2);
      if (std::exchange(kept[row % 2], row) != row) blend_row(g.w, x + row * g.w.input, at);
      return at;
    };
    for (int64_t row = begin; row < end; ++row) {
      const int64_t oh = row % g.h.output, top = row / g.h.output * g.h.input;
      const T *const a = input_row(top + g.h.first[oh]), *const b = input_row(top + g.h.second(oh));
      const T weight = g.h.weight[oh], rest = T(1) - weight;
      T* const to = y + row * g.w.output;
      for (int64_t o = 0; o < g.w.output; ++o) to[o] = rest * a[o] + weight * b[o];
    }
  });
}

template <class T>
void forward(const ResampleGeometry<T>& g, const T* x, T* y, void* workspace) {
  g.w.weight ? blend(g, x, y, workspace) : pick(g, x, y, workspace);
}

// ---- Backward: the transpose

template <class T>
void add_rows(const ResampleGeometry<T>& g, int64_t ih, const T* plane, T* sum) {
  std::fill(sum, sum + g.w.output, T(0));
  for (int64_t k = g.h.offsets[ih]; k < g.h.offsets[ih + 1]; ++k) {
    const T* const from = plane + g.h.outputs[k] * g.w.output;
    const T share = g.h.share[k];
    for (int64_t o = 0; o < g.w.output; ++o) sum[o] += share * from[o];
  }
}

template <class T>
void backward(const ResampleGeometry<T>& g, const T* gy, T* gx, void* workspace) {
  const ResampleAxis<T>& a = g.w;
  const int64_t rows = g.planes * g.h.input;
  for_each_run(g, rows, ceil_div(g.h.output, g.h.input) * a.output, workspace, [&](int64_t begin, int64_t end, T* sum) {
    for (int64_t row = begin; row < end; ++row) {
      add_rows(g, row % g.h.input, gy + row / g.h.input * g.h.output * a.output, sum);
      T* const to = gx + row * a.input;
      for (int64_t i = 0; i < a.input; ++i) {
        T total = 0;
        for (int64_t k = a.offsets[i]; k < a.offsets[i + 1]; ++k) total += a.share[k] * sum[a.outputs[k]];
        to[i] = total;
      }
    }
  });
}

template <class T>
constexpr ResampleKernels<T> kTable{workspace_bytes<T>, forward<T>, backward<T>};

}  // namespace

template <>
const ResampleKernels<float>& table() {
  return kTable<float>;
}
template <>
const ResampleKernels<double>& table() {
  return kTable<double>;
}

}  // namespace cnnx::CNNX_ISA
