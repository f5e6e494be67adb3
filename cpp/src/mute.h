// Tables of kernels that do nothing, for the "meta" device.
//
// A dry run must allocate what the real run allocates, so it runs the real code: checks, shapes, choice of algorithms,
// workspaces, the tape. Only the kernels are left out. They are known by their signatures: a kernel takes the address
// of values, a planning function (workspace_bytes, accepts, cost) takes a geometry alone and stays. A flag that every
// kernel looks at would be simpler to explain but cost a branch in each and be forgotten in some; here an added
// operation needs nothing.
#pragma once

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

namespace cnnx {
namespace detail {

template <class T>
inline constexpr bool kIsBuffer = std::is_pointer_v<T>;
template <class T>
inline constexpr bool kIsBuffer<std::span<T>> = true;

template <class Field>
void mute_field(Field&) {}
template <class R, class... Args>
void mute_field(R (*&kernel)(Args...)) {
  if constexpr ((kIsBuffer<Args> || ...)) {
    if (kernel) kernel = [](Args...) { return R(); };  // null says that there is none
  }
}

struct AnyField {
  template <class T>
  operator T() const;
};

/// The number of members of an aggregate.
template <class Table, class... Fields>
constexpr size_t field_count() {
  if constexpr (requires { Table{Fields{}..., AnyField{}}; }) {
    return field_count<Table, Fields..., AnyField>();
  } else {
    return sizeof...(Fields);
  }
}

}  // namespace detail

/// The table with its kernels replaced by functions that do nothing.
template <class Table>
Table mute(Table table) {
  constexpr size_t kFields = detail::field_count<Table>();
  static_assert(kFields >= 1 && kFields <= 11, "mute() must learn of larger tables");
  const auto each = [](auto&... fields) { (detail::mute_field(fields), ...); };
  if constexpr (kFields == 1) {
    auto& [a] = table;
    each(a);
  } else if constexpr (kFields == 2) {
    auto& [a, b] = table;
    each(a, b);
  } else if constexpr (kFields == 3) {
    auto& [a, b, c] = table;
    each(a, b, c);
  } else if constexpr (kFields == 4) {
    auto& [a, b, c, d] = table;
    each(a, b, c, d);
  } else if constexpr (kFields == 5) {
    auto& [a, b, c, d, e] = table;
    each(a, b, c, d, e);
  } else if constexpr (kFields == 6) {
    auto& [a, b, c, d, e, f] = table;
    each(a, b, c, d, e, f);
  } else if constexpr (kFields == 7) {
    auto& [a, b, c, d, e, f, g] = table;
    each(a, b, c, d, e, f, g);
  } else if constexpr (kFields == 8) {
    auto& [a, b, c, d, e, f, g, h] = table;
    each(a, b, c, d, e, f, g, h);
  } else if constexpr (kFields == 9) {
    auto& [a, b, c, d, e, f, g, h, i] = table;
    each(a, b, c, d, e, f, g, h, i);
  } else if constexpr (kFields == 10) {
    auto& [a, b, c, d, e, f, g, h, i, j] = table;
    each(a, b, c, d, e, f, g, h, i, j);
  } else {
    auto& [a, b, c, d, e, f, g, h, i, j, k] = table;
    each(a, b, c, d, e, f, g, h, i, j, k);
  }
  return table;
}

}  // namespace cnnx
