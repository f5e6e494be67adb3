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
#include "widening.h"

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

/// The steps that a parameter has seen, or one more, and counted.
inline double step_of(Tensor& step, bool count) {
  if (count) step.impl()->storage->bump_version();
  return static_cast<double>(*step.data<int64_t>() += count ? 1 : 0);
}

/// The dtype of a parameter's state: that in which its step is computed.
inline DType state_dtype(const Tensor& param) { return is_16_bit(param) ? DType::kFloat32 : param.dtype(); }

/// A parameter that has a gradient, and what its step needs.
struct Update {
  Tensor param, grad;
  std::shared_ptr<const MatrixProduct> product;  // which the gradient is; null: its values are in memory
  const Options* options;
  size_t group, index;  // of the group, and of the state
  BufferNames names;
  std::array<Tensor, 3> buffers{};
  Tensor step{};                          // how many there were, if they are counted
  bool is_new = false, is_first = false;  // something of the state, or the first buffer, was made for this step
};

/// What the step updates, checked, on one device. State is made but not kept yet: whatever fails changes nothing.
template <class Rule>
std::vector<Update> find_updates(const Method<Rule>& method, Optimizer& optimizer, bool is_captured) {
  std::vector<Update> updates;
  size_t index = 0, group_number = 0;
  for (const ParamGroup& group : optimizer.param_groups()) {
    const BufferNames names = method.buffers(group.options);
    for (const Tensor& param : group.params) {
      const State& state = optimizer.state()[index++];
      const Tensor grad = param.grad();
      if (!grad.defined()) continue;
      if (!updates.empty()) check_same_device(method.op, updates.front().param, param);
      check_like(method.op, "a gradient", param, grad);
      check(grad.shape() == param.shape(), method.op, "expected a gradient of the parameter's shape {}; got {}.",
            param.shape(), grad.shape());
      Update& update = updates.emplace_back(Update{.param = param,
                                                   .grad = grad,
                                                   .product = grad.impl()->storage->product(),
                                                   .options = &group.options,
                                                   .group = group_number,
                                                   .index = index - 1,
                                                   .names = names});
      const auto find_or_make = [&](const char* name, const auto& make) {
        const auto found = state.find(name);
        if (found != state.end()) return found->second;
        check<std::runtime_error>(!is_captured, method.op,
                                  "the first step makes the state of a parameter and cannot be captured. Call the "
                                  "function once before.");
        update.is_new = true;
        return make();
      };
      for (size_t i = 0; i < 3; ++i) {
        if (!names[i]) continue;
        const Tensor& buffer = update.buffers[i] = find_or_make(names[i], [&] {
          return is_16_bit(param) ? zeros(param.shape(), {state_dtype(param), param.device()}) : zeros_like(param);
        });
        check(
            buffer.shape() == param.shape() && buffer.dtype() == state_dtype(param), "optimizer",
            "a parameter of shape {} and dtype {} has state \"{}\" of shape {} and dtype {}. Make a new optimizer for "
            "a changed model.",
            param.shape(), param.dtype(), names[i], buffer.shape(), buffer.dtype());
        if (i == 0) update.is_first = update.is_new;
      }
      if (method.counts) update.step = find_or_make("step", [] { return zeros({}, {DType::kInt64}); });
    }
    ++group_number;
  }
  return updates;
}

/// Puts the state that was made where the next step finds it.
inline void keep_state(Optimizer& optimizer, std::span<const Update> updates) {
  for (const Update& update : updates) {
    if (!update.is_new) continue;
    State& state = optimizer.state()[update.index];
    if (update.step.defined()) state.emplace("step", update.step);
    for (size_t i = 0; i < 3; ++i) {
      if (update.names[i]) state.emplace(update.names[i], update.buffers[i]);
    }
  }
}

/// What a step works on, and the memory that must outlive it whatever other threads assign meanwhile.
template <class T, class Rule>
struct Work {
  std::vector<Piece<T, Rule>> pieces;
  std::vector<std::shared_ptr<Storage>> memory;
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

  /// Where the rule of a parameter will be.
  const Rule* slot(const Update& update, double step) {
    for (size_t i = 0; i < 3; ++i) {
      if (update.names[i]) buffers_.push_back({update.index, update.names[i], update.buffers[i].impl()->storage.get()});
    }
    const auto found = std::find_if(slots_.begin(), slots_.end(), [&](const auto& slot) {
      return slot->group == update.group && slot->step == step;
    });
    const OutsideCapture outside;
    Slot& slot =
        found != slots_.end() ? **found : *slots_.emplace_back(std::make_unique<Slot>(update.group, step, device_));
    slot.indices.push_back(update.index);
    slot.names = update.names;
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
        if (method_.counts) step = step_of(optimizer.state()[index]["step"], true);
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
inline size_t count_pieces(std::span<const Update> updates, DType dtype) {
  int64_t count = 0;
  for (const Update& update : updates) {
    if (update.param.dtype() != dtype) continue;
    const MatrixProduct* const product = update.product.get();
    count += product ? Blocks(*product).count(*product) : ceil_div(update.grad.numel(), kPiece);
  }
  return static_cast<size_t>(count);
}

/// The pieces of the parameters of dtype T, whose steps are counted.
template <class T, class Rule>
Work<T, Rule> make_work(const Method<Rule>& method, std::span<Update> updates, LiveRules<Rule>* live) {
  Work<T, Rule> work;
  work.pieces.reserve(count_pieces(updates, dtype_of<T>()));
  for (Update& update : updates) {
    Tensor& param = update.param;
    if (param.dtype() != dtype_of<T>()) continue;
    const double step = update.step.defined() ? step_of(update.step, !live) : 0;
    const Rule* const slot = live ? live->slot(update, step) : nullptr;
    const Rule rule = method.rule(*update.options, step, update.is_first);
    work.memory.insert(work.memory.end(), {param.impl()->storage, update.grad.impl()->storage});
    std::array<T*, 3> values{};
    for (size_t i = 0; i < 3; ++i) {
      Tensor& buffer = update.buffers[i];
      if (!buffer.defined()) continue;
      work.memory.push_back(buffer.impl()->storage);
      values[i] = buffer.data<T>();
    }
    param.impl()->storage->bump_version();
    T* const w = param.data<T>();
    cut_gradient<T, Rule>(update.grad, update.product.get(), [&](int64_t at, Piece<T, Rule> piece) {
      piece.w = w + at;
      for (size_t i = 0; i < 3; ++i) piece.state[i] = values[i] ? values[i] + at : nullptr;
      piece.rule = rule;
      piece.live = slot;
      work.pieces.push_back(piece);
    });
  }
  return work;
}

/// Calls fn(updates) for those of 16-bit parameters, some at a time with copies in float32, and rounds what it changed.
template <class F>
void for_each_widened(std::span<const Update> updates, const F& fn) {
  constexpr int64_t kValues = 1 << 22;
  for (size_t i = 0; i < updates.size();) {
    std::vector<Update> wide;
    std::vector<Tensor> originals;
    for (int64_t values = 0; i < updates.size() && values < kValues; ++i) {
      const Update& update = updates[i];
      if (!is_16_bit(update.param)) continue;
      values += update.param.numel();
      originals.push_back(update.param.detach());
      wide.push_back(update);
      wide.back().param = originals.back().to(state_dtype(update.param));
      wide.back().grad = update.grad.to(state_dtype(update.param));
    }
    if (!wide.empty()) fn(std::span(wide));
    for (size_t j = 0; j < wide.size(); ++j) originals[j].copy_(wide[j].param);
  }
}

/// Runs the kernel that `select` picks from the table, for the parameters of each dtype.
template <class Rule, class Select>
void run_step(const Method<Rule>& method, Optimizer& optimizer, Select select) {
  Capture* const capture = current_capture();
  std::vector<Update> updates = find_updates(method, optimizer, capture != nullptr);
  if (updates.empty()) return;
  const Device device = updates.front().param.device();
  check<std::runtime_error>(!capture || capture->device == device, method.op,
                            "a captured function works on {}; got parameters on {}.",
                            capture ? capture->device : device, device);
  auto live = capture ? std::make_unique<LiveRules<Rule>>(method, optimizer, device) : nullptr;
  keep_state(optimizer, updates);
  const auto run = [&]<class T>(const Work<T, Rule>& work) {
    if (!work.pieces.empty()) {
      select(kernels<OptimizerKernels<T>>(device))(std::span<const Piece<T, Rule>>(work.pieces));
    }
    for (const auto& storage : work.memory) storage->note_access();  // what was derived meanwhile may be of half a step
  };
  const Work<float, Rule> single = make_work<float, Rule>(method, updates, live.get());
  const Work<double, Rule> twofold = make_work<double, Rule>(method, updates, live.get());
  run(single);
  run(twofold);
  for_each_widened(updates, [&](std::span<Update> wide) { run(make_work<float, Rule>(method, wide, live.get())); });
  if (capture) capture->live.push_back(std::move(live));
}

}  // namespace cnnx::optim
