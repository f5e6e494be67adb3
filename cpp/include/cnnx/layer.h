// Layer, the base of the library's layers that have constructor arguments.
#pragma once

#include "cnnx/module.h"

namespace cnnx {

/// A layer with constructor arguments Args; it can be made from them. visit() in its source file describes them.
template <class Args>
class Layer : public Module {
 public:
  explicit Layer(Args args) : args_(std::move(args)) {}
  const Args& args() const { return args_; }
  bool is_describable() const override { return true; }

 protected:
  void dtype_changed(DType dtype) override {
    if constexpr (requires { args_.options.dtype; }) args_.options.dtype = dtype;
  }
  Args args_;
};

}  // namespace cnnx
