// The search for values that are not finite: at the output of every recorded operation and every module, and at every
// gradient. The first one stops the run, so that what it names is the cause and not a consequence.
#include "anomaly.h"

#include <cmath>
#include <memory>

#include "check.h"
#include "cnnx/call.h"
#include "tensor_impl.h"
#include "widening.h"

namespace cnnx {
namespace {

/// "3 NaN and 0 infinite values of 1024"; empty if all are finite.
std::string trouble(const Tensor& x) {
  if (!x.defined() || !is_floating(x.dtype()) || x.device().is_meta()) return {};
  int64_t nan = 0, infinite = 0;
  dispatch_floating(x.dtype(), [&](auto t) {
    const Tensor host = x.detach().to(Device()), wide = is_16_bit(host) ? host.to(DType::kFloat32) : host;
    const auto* values = wide.data<decltype(t)>();
    for (int64_t i = 0; i < x.numel(); ++i) {
      nan += std::isnan(values[i]);
      infinite += std::isinf(values[i]);
    }
  });
  if (nan + infinite == 0) return {};
  return format("{} NaN and {} infinite values of {}", nan, infinite, x.numel());
}

[[noreturn]] void raise(std::string_view pass, std::string_view what, std::string_view found) {
  fail<std::runtime_error>("detect_anomaly", "{}: {} has {}.", pass, what, found);
}

/// Looks at what a module is given and at its own tensors: an output can be wrong only because of them.
void check_given(const Call& call) {
  for (const Tensor& input : call.inputs()) {
    if (const std::string found = trouble(input); !found.empty()) raise("forward", "the input", found);
  }
  for (const auto& list : {call.module().named_parameters("", false), call.module().named_buffers("", false)}) {
    for (const auto& [name, tensor] : list) {
      if (const std::string found = trouble(tensor); !found.empty()) raise("forward", name, found);
    }
  }
}

class AnomalyObserver : public CallObserver {
 public:
  void entered(const Call& call) override { check_given(call); }
  void left(const Call& call, std::span<const Tensor> outputs) override {
    for (const Tensor& output : outputs) {
      if (const std::string found = trouble(output); !found.empty())
        raise("forward", "the output of " + call.module().type_name(), found);
    }
  }
};

thread_local std::unique_ptr<AnomalyObserver> detector;

std::string input_name(const Node& node, size_t i) {
  const bool is_parameter = node.inputs[i] && node.inputs[i]->is_leaf();
  return format("the gradient of {} for {} {}", node.op, is_parameter ? "parameter or leaf" : "input", i);
}

}  // namespace

void set_detect_anomaly(bool on) { detector = on ? std::make_unique<AnomalyObserver>() : nullptr; }
bool is_detect_anomaly() { return detector != nullptr; }
bool detects_anomaly() { return detector != nullptr; }

void check_output(Node& node, const Tensor& output) {
  if (const Call* call = Call::current()) node.place = call->place();
  if (const std::string found = trouble(output); !found.empty())
    raise("forward", format("the output of {}", node.op), found);
}

void check_gradients(const Node& node, const Tensor& gradient, const Gradients& gradients) {
  const std::string at = node.place.empty() ? "" : "; at " + node.place;
  const auto fail_backward = [&](const std::string& what, const std::string& found) {
    fail<std::runtime_error>("detect_anomaly", "backward: {} has {}{}.", what, found, at);
  };
  if (const std::string found = trouble(gradient); !found.empty())
    fail_backward(format("the gradient of the output of {}", node.op), found);
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (const std::string found = trouble(gradients[i]); !found.empty()) fail_backward(input_name(node, i), found);
  }
}

}  // namespace cnnx
