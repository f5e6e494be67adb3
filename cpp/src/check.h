// check(): the only way to raise a user error. Messages read "[op] rule; got values. Hint." and are part of the API.
#pragma once

#include <ostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "cnnx/ops.h"

namespace cnnx {

inline std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.str(); }
inline std::ostream& operator<<(std::ostream& out, DType dtype) { return out << dtype_name(dtype); }
inline std::ostream& operator<<(std::ostream& out, const Device& device) { return out << device.str(); }
inline std::ostream& operator<<(std::ostream& out, const Pair& pair) {
  return out << '(' << pair.h << ", " << pair.w << ')';
}

namespace detail {
inline void format_to(std::ostream& out, std::string_view text) { out << text; }
template <class First, class... Rest>
void format_to(std::ostream& out, std::string_view text, const First& first, const Rest&... rest) {
  const size_t at = text.find("{}");
  out << text.substr(0, at);
  if (at == std::string_view::npos) return;
  out << first;
  format_to(out, text.substr(at + 2), rest...);
}
}  // namespace detail

/// Replaces each {} in text by the next argument.
template <class... Args>
std::string format(std::string_view text, const Args&... args) {
  std::ostringstream out;
  detail::format_to(out, text, args...);
  return out.str();
}

/// Raises Exception with "[op] text" unless the condition holds.
template <class Exception = std::invalid_argument, class... Args>
void check(bool condition, std::string_view op, std::string_view text, const Args&... args) {
  if (condition) [[likely]]
    return;
  throw Exception("[" + std::string(op) + "] " + format(text, args...));
}

template <class Exception = std::invalid_argument, class... Args>
[[noreturn]] void fail(std::string_view op, std::string_view text, const Args&... args) {
  check<Exception>(false, op, text, args...);
  std::abort();  // unreachable: check() threw
}

/// The axis counted from the front. Raises std::out_of_range.
inline int normalize_axis(std::string_view op, int64_t axis, int rank) {
  check<std::out_of_range>(axis >= -rank && axis < rank, op, "axis must lie in [{}, {}); got {}.", -rank, rank, axis);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

/// Lengths are not negative and, zeros left out, their product stays far from overflow.
inline void check_numel(std::string_view op, const Shape& shape) {
  int64_t room = int64_t{1} << 58;
  for (const int64_t size : shape) {
    check(size >= 0, op, "axis lengths must not be negative; got shape {}.", shape);
    if (size > 0) room /= size;
    check(room > 0, op, "shape {} has too many elements.", shape);
  }
}

/// All defined tensors on one device, or an error that names both.
inline void check_same_device(std::string_view op, const Tensor& a, const Tensor& b) {
  if (!b.defined()) return;
  check(a.device() == b.device(), op, "expected all tensors on {}; got one on {}. Move it with .to(\"{}\").",
        a.device(), b.device(), a.device());
}

/// The dtype and device of `a` for `b` too, when b is defined.
inline void check_like(std::string_view op, const char* name, const Tensor& a, const Tensor& b) {
  if (!b.defined()) return;
  check_same_device(op, a, b);
  check(a.dtype() == b.dtype(), op, "expected {} of dtype {}; got {}. Convert it with .to(\"{}\").", name, a.dtype(),
        b.dtype(), a.dtype());
}

inline void check_floating(std::string_view op, const Tensor& x) {
  check(x.defined(), op, "expected a tensor; got none.");
  check(is_floating(x.dtype()), op, "expected a floating-point tensor; got {}. Convert it with .to(\"float32\").",
        x.dtype());
}

}  // namespace cnnx
