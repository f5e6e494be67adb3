// What a residual block's body and its shortcut must have in common, for every operation that adds the two.
#pragma once

#include "check.h"
#include "cnnx/tensor.h"

namespace cnnx {

inline void check_residual(const Shape& body, const Shape& shortcut) {
  check(body == shortcut, "residual",
        "the body's output and the shortcut's must have the same shape; got {} and {}. Give a downsample module.", body,
        shortcut);
}

}  // namespace cnnx
