// The tape: recording, and the backward pass by descending sequence number.
#include "autograd.h"

#include <algorithm>
#include <atomic>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "anomaly.h"
#include "check.h"
#include "cuda/capture.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {

thread_local bool grad_enabled = true;
thread_local bool rehearsing = false;
std::atomic<uint64_t> next_seq{1};

/// All nodes that can be reached from root, newest first. Newest first is a topological order: inputs are older.
std::vector<Node*> reachable(Node* root) {
  std::vector<Node*> order, stack{root};
  std::unordered_set<Node*> seen{root};
  while (!stack.empty()) {
    Node* node = stack.back();
    stack.pop_back();
    order.push_back(node);
    for (const auto& input : node->inputs) {
      if (input && seen.insert(input.get()).second) stack.push_back(input.get());
    }
  }
  std::sort(order.begin(), order.end(), [](const Node* a, const Node* b) { return a->seq > b->seq; });
  return order;
}

/// A leaf keeps its gradient for the user: never a buffer that something else can see.
void accumulate_leaf(Node& leaf, Tensor grad) {
  if (leaf.grad.defined()) {
    const Storage& sum = *leaf.grad.impl()->storage;
    check<std::runtime_error>(!current_capture() || sum.pool() == current_capture()->pool || is_ours(leaf.grad),
                              "graph",
                              "a captured function cannot add to a gradient that something else refers to. Call "
                              "zero_grad() in the function, before backward().");
    leaf.grad = accumulate(std::move(leaf.grad), grad);
  } else {
    leaf.grad = is_ours(grad) ? std::move(grad) : grad.clone();
    leaf.grad.impl()->storage->set_kind(MemoryKind::kGradient);
  }
}

void run_backward(Node* root, const Tensor& gradient, bool retain_graph) {
  const std::vector<Node*> order = reachable(root);
  for (const Node* node : order) {
    check<std::runtime_error>(!node->freed || !rehearsing, "backward",
                              "a checkpointed module cannot run backward() on {}, which its own forward pass computed. "
                              "Switch its checkpoint off.",
                              node->op);
    check<std::runtime_error>(
        !node->freed, "backward",
        "the values saved for {} were freed by an earlier backward. Pass retain_graph=True to that one, "
        "or run the forward pass again.",
        node->op);
  }
  std::unordered_map<Node*, Tensor> pending;
  pending[root] = gradient;
  for (Node* node : order) {
    const auto found = pending.find(node);
    if (found == pending.end()) continue;
    Tensor grad = std::move(found->second);
    pending.erase(found);
    if (node->is_leaf()) {
      accumulate_leaf(*node, std::move(grad));
      continue;
    }
    const Tensor watched = detects_anomaly() ? grad : Tensor();  // one more owner: it is not overwritten
    Gradients grads = node->backward(grad);
    if (watched.defined()) check_gradients(*node, watched, grads);
    grad = {};
    for (size_t i = 0; i < grads.size(); ++i) {
      if (!grads[i].defined() || !node->inputs[i]) continue;
      Tensor& slot = pending[node->inputs[i].get()];
      slot = slot.defined() ? accumulate(std::move(slot), grads[i]) : std::move(grads[i]);
      if (node->inputs[i]->is_leaf() && is_ours(slot)) slot.impl()->storage->set_kind(MemoryKind::kGradient);
    }
    if (!retain_graph) {
      node->backward = nullptr;
      node->freed = true;
    }
  }
}

std::shared_ptr<Node> new_node(const char* op, BackwardFn backward) {
  auto node = std::make_shared<Node>();
  node->op = op;
  node->seq = next_seq.fetch_add(1, std::memory_order_relaxed);
  node->backward = std::move(backward);
  return node;
}

Tensor attach(std::shared_ptr<Node> node, Tensor output) {
  if (detects_anomaly()) check_output(*node, output);
  if (rehearsing) {
    node->inputs.clear();
    node->backward = nullptr;
    node->freed = true;
  }
  output.impl()->node = std::move(node);
  return output;
}

}  // namespace

bool is_ours(const Tensor& x) { return x.impl().use_count() == 1 && x.impl()->storage.use_count() == 1; }

Node::~Node() {
  // Unlinks a long chain without recursion.
  std::vector<std::shared_ptr<Node>> doomed = std::move(inputs);
  while (!doomed.empty()) {
    const std::shared_ptr<Node> node = std::move(doomed.back());
    doomed.pop_back();
    if (node && node.use_count() == 1) std::move(node->inputs.begin(), node->inputs.end(), std::back_inserter(doomed));
    if (node && node.use_count() == 1) node->inputs.clear();
  }
}

Saved::Saved(const Tensor& tensor) {
  if (!tensor.defined()) return;
  Widening* const widening = Widening::current();
  tensor_ = widening ? widening->to_keep(tensor) : tensor.detach();
  dtype_ = tensor.dtype();
  version_ = tensor_.impl()->storage->version();
}

bool Saved::unchanged() const { return !defined() || tensor_.impl()->storage->version() == version_; }

const Tensor Saved::get(const char* op) const {
  check<std::runtime_error>(
      unchanged(), "backward",
      "a value that the gradient of {} needs was changed in place after the forward pass. Run backward "
      "before the change, or change a copy.",
      op);
  return defined() ? tensor_.to(dtype_) : tensor_;
}

bool is_grad_enabled() { return grad_enabled; }
void set_grad_enabled(bool on) { grad_enabled = on; }

void zero_grad(Tensor& leaf, bool set_to_none) {
  Tensor grad = leaf.grad();
  if (set_to_none) {
    leaf.set_grad({});
  } else if (grad.defined()) {
    grad.fill_(0);
  }
}

RecomputeGuard::RecomputeGuard()
    : was_recording_(std::exchange(grad_enabled, true)), was_rehearsing_(std::exchange(rehearsing, false)) {}
RecomputeGuard::~RecomputeGuard() {
  rehearsing = was_rehearsing_;
  grad_enabled = was_recording_;
}

RehearsalGuard::RehearsalGuard() : was_rehearsing_(std::exchange(rehearsing, true)) {}
RehearsalGuard::~RehearsalGuard() { rehearsing = was_rehearsing_; }

NoGradGuard::NoGradGuard() : previous_(grad_enabled) { grad_enabled = false; }
NoGradGuard::~NoGradGuard() { grad_enabled = previous_; }

bool grad_needed(std::initializer_list<const Tensor*> inputs) {
  return grad_enabled && std::any_of(inputs.begin(), inputs.end(), [](const Tensor* x) { return x->requires_grad(); });
}
bool grad_needed(std::span<const Tensor> inputs) {
  return grad_enabled && std::any_of(inputs.begin(), inputs.end(), [](const Tensor& x) { return x.requires_grad(); });
}

Tensor record(const char* op, Tensor output, std::initializer_list<const Tensor*> inputs, BackwardFn backward) {
  auto node = new_node(op, std::move(backward));
  node->inputs.reserve(inputs.size());
  for (const Tensor* x : inputs) node->inputs.push_back(x->defined() ? x->impl()->node : nullptr);
  return attach(std::move(node), std::move(output));
}

Tensor record(const char* op, Tensor output, std::span<const Tensor> inputs, BackwardFn backward) {
  auto node = new_node(op, std::move(backward));
  for (const Tensor& x : inputs) node->inputs.push_back(x.impl()->node);
  return attach(std::move(node), std::move(output));
}

void Tensor::backward(const Tensor& gradient, bool retain_graph) const {
  check<std::runtime_error>(is_grad_enabled(), "backward", "backward was called under no_grad. Call it outside.");
  check<std::runtime_error>(
      requires_grad(), "backward",
      "this tensor has no gradient record: nothing it was computed from requires a gradient, or it was "
      "computed under no_grad or detached.");
  if (gradient.defined()) {
    check(gradient.shape() == shape(), "backward", "the gradient must have the tensor's shape {}; got {}.", shape(),
          gradient.shape());
    check_like("backward", "the gradient", *this, gradient);
  } else {
    check<std::runtime_error>(
        numel() == 1, "backward",
        "a tensor of shape {} needs a gradient argument; only one with a single element has the gradient "
        "1. Reduce it first, by sum() or mean().",
        shape());
  }
  const NoGradGuard no_grad;
  run_backward(impl()->node.get(), gradient.defined() ? gradient.detach() : ones(shape(), {dtype(), device()}),
               retain_graph);
}

}  // namespace cnnx
