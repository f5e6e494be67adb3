// The tape: one Node a recorded operation (or leaf), held by the tensor that the operation returned.
//
// An op computes its output first, then, if grad_needed(inputs), records a closure that maps the output's gradient to
// the inputs' gradients. Closures hold what they need through save(), never the tensors themselves.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cnnx/tensor.h"

namespace cnnx {

/// Gradients of a node's inputs, in order; undefined where none is wanted.
using Gradients = std::vector<Tensor>;
using BackwardFn = std::function<Gradients(const Tensor& grad)>;

struct Node {
  const char* op = "leaf";
  uint64_t seq = 0;
  std::vector<std::shared_ptr<Node>> inputs;  // null for inputs without a gradient
  BackwardFn backward;                        // empty for leaves
  bool freed = false;
  Tensor grad;        // leaves only
  std::string place;  // of the layer that recorded it; under set_detect_anomaly() only

  bool is_leaf() const { return seq == 0; }
  ~Node();
};

/// A value kept for the backward pass: the buffer without its graph, and the version it had.
class Saved {
 public:
  Saved() = default;
  explicit Saved(const Tensor& tensor);
  /// Raises std::runtime_error if the buffer has been written to since. What was saved of a float32 copy is copied
  /// anew. Const, so that its values are not taken for written to.
  const Tensor get(const char* op) const;
  bool unchanged() const;
  bool defined() const { return tensor_.defined(); }

 private:
  Tensor tensor_;
  DType dtype_ = DType::kFloat32;  // that it was saved in; it may be kept in 16 bits
  uint32_t version_ = 0;
};
inline Saved save(const Tensor& tensor) { return Saved(tensor); }

/// Whether nothing else can see the tensor's buffer: who was given such a gradient may overwrite it.
bool is_ours(const Tensor& x);

/// Whether an operation on these inputs must be recorded.
bool grad_needed(std::initializer_list<const Tensor*> inputs);
bool grad_needed(std::span<const Tensor> inputs);

/// Attaches a node to the output and returns it.
Tensor record(const char* op, Tensor output, std::initializer_list<const Tensor*> inputs, BackwardFn backward);
Tensor record(const char* op, Tensor output, std::span<const Tensor> inputs, BackwardFn backward);

/// While one lives, this thread runs a forward pass that will be run again with a record. All goes as if there were one
/// already, so that operations choose the same algorithms both times; but nodes keep no values and lead nowhere.
class RehearsalGuard {
 public:
  RehearsalGuard();
  ~RehearsalGuard();
  RehearsalGuard(const RehearsalGuard&) = delete;
  RehearsalGuard& operator=(const RehearsalGuard&) = delete;

 private:
  bool was_rehearsing_;
};

/// While one lives, this thread runs a forward pass for the second time: it records, whatever the backward pass is
/// under.
class RecomputeGuard {
 public:
  RecomputeGuard();
  ~RecomputeGuard();
  RecomputeGuard(const RecomputeGuard&) = delete;
  RecomputeGuard& operator=(const RecomputeGuard&) = delete;

 private:
  bool was_recording_, was_rehearsing_;
};

/// Drops a leaf's gradient, or fills it with zeros.
void zero_grad(Tensor& leaf, bool set_to_none);

/// a += b where a's buffer belongs to the tape alone, else a new tensor.
Tensor accumulate(Tensor a, const Tensor& b);

}  // namespace cnnx
