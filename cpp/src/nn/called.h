// Runs what a module does as a call of that module: seen by observers, with its place in error messages.
#pragma once

#include <stdexcept>
#include <typeinfo>

#include "cnnx/call.h"

namespace cnnx {

/// Throws the exception that is being handled again, with the place in its message if it is exactly an E: others may
/// carry more than text.
template <class E>
[[noreturn]] void rethrow_from(const Call& call, const E& error) {
  if (typeid(error) != typeid(E)) throw;
  throw E(call.locate(error.what()));
}

template <class F>
Tensor called(const Module& module, const Tensor& x, F&& forward) {
  Call call(module);
  try {
    call.set_inputs({&x, 1});
    call.enter();
    const Tensor y = forward();
    call.leave({&y, 1});
    return y;
  } catch (const std::invalid_argument& error) {
    rethrow_from(call, error);
  } catch (const std::out_of_range& error) {
    rethrow_from(call, error);
  } catch (const std::runtime_error& error) {
    rethrow_from(call, error);
  }
}

}  // namespace cnnx
