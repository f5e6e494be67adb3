// Calls of modules that are under way on a thread: where an error happened, and what may watch a model run.
//
//   struct Print : cnnx::CallObserver {
//     void left(const cnnx::Call& call, std::span<const cnnx::Tensor> outputs) override {
//       std::cout << call.path() << ' ' << outputs[0].shape().str() << '\n';
//     }
//   };
#pragma once

#include <optional>
#include <string>

#include "cnnx/module.h"

namespace cnnx {

/// One call of a module. Calls nest; each lives on the stack of the function that makes it.
class CNNX_API Call {
 public:
  explicit Call(const Module& module);
  /// A call at another time than its caller's, from where it had this path: of a module that is computed again.
  Call(const Module& module, std::string path);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  /// They must outlive the call.
  void set_inputs(std::span<const Tensor> inputs) { inputs_ = inputs; }
  /// Tell the observers, before and after forward().
  void enter() const;
  void leave(std::span<const Tensor> outputs) const;

  const Module& module() const { return module_; }
  std::span<const Tensor> inputs() const { return inputs_; }
  const Call* outer() const { return outer_; }
  /// The module's dotted name within the outermost module that is being called: "" for that one.
  std::string path() const;
  /// "features.3 (Conv2d), input (1, 4, 8, 8)"; "" for the outermost module.
  std::string place() const;
  /// An error's message with the place at its end, as it is if it has one already.
  std::string locate(std::string_view message) const;

  /// The innermost call on this thread, or null.
  static const Call* current();
  /// Whether somebody watches this thread.
  static bool is_watched();

 private:
  const Module& module_;
  std::span<const Tensor> inputs_;
  const Call* outer_;
  std::optional<std::string> path_;
};

/// While one lives, it is told of every call on the thread that made it.
class CNNX_API CallObserver {
 public:
  CallObserver();
  virtual ~CallObserver();
  CallObserver(const CallObserver&) = delete;
  CallObserver& operator=(const CallObserver&) = delete;

  virtual void entered(const Call&) {}
  virtual void left(const Call&, std::span<const Tensor>) {}

 private:
  friend class Call;
  CallObserver* previous_;
};

/// Switches the search for values that are not finite on or off for this thread: while it is on, the first NaN or
/// infinity raises std::runtime_error that names the layer, the pass and the tensor.
CNNX_API void set_detect_anomaly(bool on);
CNNX_API bool is_detect_anomaly();

}  // namespace cnnx
