// Integer division and multiples, rounded up.
#pragma once

#include <cstdint>

namespace cnnx {

constexpr int64_t ceil_div(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }
constexpr int64_t round_up(int64_t value, int64_t multiple) { return ceil_div(value, multiple) * multiple; }

}  // namespace cnnx
