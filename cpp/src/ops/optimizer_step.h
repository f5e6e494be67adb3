// One step of any optimiser: what it works on, and how a captured step gets its rule in every run.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <mutex>
#include <optional>

#include "check.h"
#include "cnnx/optim.h"
#include "cuda/capture.h"
#include "cuda/library.h"
#include "kernels.h"
#include "ops/optimizer.h"
#include "rounding.h"
#include "tensor_impl.h"

namespace cnnx::optim {

using Options = std::map<std::string, double>;
using State = Optimizer::State;
using BufferNames = std::array<const char*, 3>;  // null: none

/// How an optimiser updates a parameter.
template <class Rule>
struct Method {
  const char* op;
  bool counts;  // steps, in the state "step"
  /// The state tensors that it needs under these options.
  std::function<BufferNames(const Options&)> buffers;
  /// The rule of the step of that number; `is_first` if the state was made for it.
  std::function<Rule(const Options&, double step, bool is_first)> rule;
};

constexpr int64_t kPiece = 16384;  // values

/// The blocks of a product: rows that share the reads of its right factor, or long runs of one row where each of that
/// factor's few values is read for one product alone.
struct Blocks {
  explicit Blocks(const MatrixProduct& product)
      : rows(product.rows == 1 ? 1 : ProductBlock<float>::kMostRows), cols(kPiece / rows) {}
  int64_t rows, cols;
  int64_t count(const MatrixProduct& product) const { return ceil_div(product.out, rows) * ceil_div(product.in, cols); }
};

/// The steps that this parameter has seen, or one more, and counted.
inline double step_of(State& state, bool count) {
  Tensor& step = state["step"];
  if (!step.defined()) step = zeros({}, {DType::kInt64});
  if (count) step.impl()->storage->bump_version();
  return static_cast<double>(*step.data<int64_t>() += count ? 1 : 0);
}

inline Tensor& buffer(State& state, const char* name, const Tensor& param) {
  Tensor& tensor = state[name];
  if (!tensor.defined()) tensor = zeros_like(param);
  check(tensor.shape() == param.shape() && tensor.dtype() == param.dtype(), "optimizer",
        "a parameter of shape {} and dtype {} has state \"{}\" of shape {} and dtype {}. Make a new optimizer for a "
        "changed model.",
        param.shape(), param.dtype(), name, tensor.shape(), tensor.dtype());
  return tensor;
}

/// Whether nothing of the state that a step needs has to be made.
template <class Rule>
bool has_state(const Method<Rule>& method, const State& state, const BufferNames& names) {
  return (!method.counts || state.count("step") > 0) &&
         std::all_of(names.begin(), names.end(), [&](const char* name) { return !name || state.count(name) > 0; });
}

/// What a step works on, and the memory that must outlive it whatever other threads assign meanwhile.
template <class T, class Rule>
struct Work {
  std::vector<Piece<T, Rule>> pieces;
  std::vector<std::shared_ptr<Storage>> memory;
  std::vector<std::shared_ptr<const MatrixProduct>> products;
};

/// Cuts a gradient of n values into pieces and calls fn(offset, piece) for each.
template <class T, class Rule, class F>
void cut_gradient(const Tensor& grad, const MatrixProduct* product, F&& fn) {
  Piece<T, Rule> piece{};
  if (!product) {
    const int64_t n = grad.numel();
    const T* const g = grad.data<T>();
    for (int64_t at = 0; at < n; at += kPiece) {
      piece.g = g + at;
      piece.n = std::min(kPiece, n - at);
      fn(at, piece);
    }
    return;
  }
  const T *left = static_cast<const T*>(product->left.data()), *right = static_cast<const T*>(product->right.data());
  const Blocks blocks(*product);
  for (int64_t o = 0; o < product->out; o += blocks.rows) {
    for (int64_t i = 0; i < product->in; i += blocks.cols) {
      piece.product = {left + o,     right + i,   product->rows,
                       product->out, product->in, std::min(blocks.rows, product->out - o)};
      piece.n = std::min(blocks.cols, product->in - i);
      fn(o * product->in + i, piece);
    }
  }
}

/// The rules of a captured step, in device memory: parameters of one group that have seen equally many steps share one.
template <class Rule>
class LiveRules : public LiveValues {
 public:
  LiveRules(const Method<Rule>& method, Optimizer& optimizer, Device device)
      : method_(method), optimizer_(optimizer.self()), device_(device), states_(optimizer.state().size()) {}

  /// Where the rule of a parameter will be, whose state is the index-th.
  const Rule* slot(size_t group, size_t index, State& state, const BufferNames& names) {
    check<std::runtime_error>(has_state(method_, state, names), method_.op,
                              "the first step makes the state of a parameter and cannot be captured. Call the function "
                              "once before.");
    for (const char* name : names) {
      if (name) buffers_.push_back({index, name, state[name].impl()->storage.get()});
    }
    const double step = method_.counts ? step_of(state, false) : 0;
    const auto found = std::find_if(slots_.begin(), slots_.end(),
                                    [&](const auto& slot) { return slot->group == group && slot->step == step; });
    const OutsideCapture outside;
    Slot& slot = found != slots_.end() ? **found : *slots_.emplace_back(std::make_unique<Slot>(group, step, device_));
    slot.indices.push_back(index);
    slot.names = names;
    return static_cast<const Rule*>(slot.memory.data());
  }

  bool is_current() const override {
    const std::shared_ptr<Optimizer*> alive = optimizer_.lock();
    if (!alive) return false;
    Optimizer& optimizer = **alive;
    const std::lock_guard lock(optimizer.mutex());
    if (optimizer.state().size() != states_) return false;
    for (const Buffer& buffer : buffers_) {
      const State& state = optimizer.state()[buffer.index];
      const auto found = state.find(buffer.name);
      if (found == state.end() || found->second.impl()->storage.get() != buffer.storage) return false;
    }
    return std::all_of(slots_.begin(), slots_.end(), [&](const auto& slot) {
      return method_.buffers(optimizer.param_groups()[slot->group].options) == slot->names;
    });
  }

  void refresh() override {
    const std::shared_ptr<Optimizer*> alive = optimizer_.lock();
    if (!alive) return;
    Optimizer& optimizer = **alive;
    const std::lock_guard lock(optimizer.mutex());
    for (const auto& slot : slots_) {
      double step = 0;
      for (const size_t index : slot->indices) {
        if (method_.counts) step = step_of(optimizer.state()[index], true);
      }
      const Rule rule = method_.rule(optimizer.param_groups()[slot->group].options, step, false);
      if (slot->written == rule) continue;
      cuda_library().upload(device_.index, slot->memory.data(), &rule, sizeof(rule));
      slot->written = rule;
    }
  }

 private:
  struct Slot {
    Slot(size_t group_, double step_, Device device) : group(group_), step(step_), memory(sizeof(Rule), device) {}
    size_t group;
    double step;
    Storage memory;
    std::vector<size_t> indices;
    BufferNames names{};
    std::optional<Rule> written;
  };
  struct Buffer {
    size_t index;
    const char* name;
    const Storage* storage;
  };
  const Method<Rule> method_;
  const std::weak_ptr<Optimizer*> optimizer_;
  const Device device_;
  const size_t states_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<Buffer> buffers_;
};

/// How many pieces cut_gradient() makes of all gradients of one dtype.
inline size_t count_pieces(Optimizer& optimizer, DType dtype) {
  int64_t count = 0;
  for (const ParamGroup& group : optimizer.param_groups()) {
    for (const Tensor& param : group.params) {
      const Tensor grad = param.grad();
      if (param.dtype() != dtype || !grad.defined()) continue;
      const auto product = grad.impl()->storage->product();
      count += product ? Blocks(*product).count(*product) : ceil_div(grad.numel(), kPiece);
    }
  }
  return static_cast<size_t>(count);
}

/// What the step updates: every parameter of dtype T that has a gradient.
template <class T, class Rule>
Work<T, Rule> make_work(const Method<Rule>& method, Optimizer& optimizer, LiveRules<Rule>* live) {
  Work<T, Rule> work;
  work.pieces.reserve(count_pieces(optimizer, dtype_of<T>()));
  size_t index = 0, group_number = 0;
  for (ParamGroup& group : optimizer.param_groups()) {
    for (Tensor& param : group.params) {
      const size_t mine = index++;
      State& state = optimizer.state()[mine];
      const Tensor grad = param.grad();
      if (param.dtype() != dtype_of<T>() || !grad.defined()) continue;
      check_like(method.op, "a gradient", param, grad);
      check(grad.shape() == param.shape(), method.op, "expected a gradient of the parameter's shape {}; got {}.",
            param.shape(), grad.shape());
      const BufferNames names = method.buffers(group.options);
      const Rule* const slot = live ? live->slot(group_number, mine, state, names) : nullptr;
      const double step = method.counts ? step_of(state, !live) : 0;
      const bool is_first = names[0] && state.count(names[0]) == 0;
      const Rule rule = method.rule(group.options, step, is_first);
      work.memory.insert(work.memory.end(), {param.impl()->storage, grad.impl()->storage});
      std::array<T*, 3> values{};
      for (size_t i = 0; i < 3; ++i) {
        if (!names[i]) continue;
        Tensor& tensor = buffer(state, names[i], param);
        work.memory.push_back(tensor.impl()->storage);
        values[i] = tensor.data<T>();
      }
      param.impl()->storage->bump_version();
      const auto product = grad.impl()->storage->product();
      if (product) work.products.push_back(product);
      T* const w = param.data<T>();
      cut_gradient<T, Rule>(grad, product.get(), [&](int64_t at, Piece<T, Rule> piece) {
        piece.w = w + at;
        for (size_t i = 0; i < 3; ++i) piece.state[i] = values[i] ? values[i] + at : nullptr;
        piece.rule = rule;
        piece.live = slot;
        work.pieces.push_back(piece);
      });
    }
    ++group_number;
  }
  return work;
}

/// Runs the kernel that `select` picks from the table, for the parameters of each dtype.
template <class Rule, class Select>
void run_step(const Method<Rule>& method, Optimizer& optimizer, Select select) {
  Tensor first;  // of the parameters that have a gradient
  for (const ParamGroup& group : optimizer.param_groups()) {
    for (const Tensor& param : group.params) {
      if (!param.grad().defined()) continue;
      if (!first.defined()) first = param;
      check_same_device(method.op, first, param);
    }
  }
  if (!first.defined()) return;
  const Device device = first.device();
  Capture* const capture = current_capture();
  check<std::runtime_error>(!capture || capture->device == device, method.op,
                            "a captured function works on {}; got parameters on {}.",
                            capture ? capture->device : device, device);
  auto live = capture ? std::make_unique<LiveRules<Rule>>(method, optimizer, device) : nullptr;
  const auto run = [&](auto t) {
    using T = decltype(t);
    const Work<T, Rule> work = make_work<T, Rule>(method, optimizer, live.get());
    if (!work.pieces.empty()) {
      select(kernels<OptimizerKernels<T>>(device))(std::span<const Piece<T, Rule>>(work.pieces));
    }
    for (const auto& storage : work.memory) storage->note_access();  // what was derived meanwhile may be of half a step
  };
  run(float{});
  run(double{});
  if (capture) capture->live.push_back(std::move(live));
}

}  // namespace cnnx::optim
