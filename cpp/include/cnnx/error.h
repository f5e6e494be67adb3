// Symbol visibility and the exceptions that cnnx raises.
//
// Bad arguments raise std::invalid_argument, bad indices std::out_of_range, exhausted memory std::bad_alloc, a call in
// the wrong state (backward twice, say) std::runtime_error; messages read "[op] rule; got values. Hint."
#pragma once

#include <stdexcept>

#if defined(_WIN32)
#if defined(CNNX_BUILDING)
#define CNNX_API __declspec(dllexport)
#else
#define CNNX_API __declspec(dllimport)
#endif
#else
#define CNNX_API __attribute__((visibility("default")))
#endif

namespace cnnx {

/// A failed CUDA call, or CUDA asked for where there is none.
class CNNX_API CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace cnnx
