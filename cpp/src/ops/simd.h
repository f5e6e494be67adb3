// Vectors of the instruction set that a kernel file is compiled for, by the vector extension of GCC and Clang.
#pragma once

#include <cstdint>
#include <cstring>

namespace cnnx::CNNX_ISA {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
inline constexpr int kVectorRegisters = 32;
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32;
inline constexpr int kVectorRegisters = 16;
#elif defined(__aarch64__)
inline constexpr int kVectorBytes = 16;
inline constexpr int kVectorRegisters = 32;
#else
inline constexpr int kVectorBytes = 16;
inline constexpr int kVectorRegisters = 16;
#endif

template <class T>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T, int kCount>
struct VectorOf {
  typedef T type __attribute__((vector_size(kCount * sizeof(T))));
};
template <class T>
using Vector = typename VectorOf<T, kLanes<T>>::type;

/// Signed integers as wide as T: what comparing two vectors gives.
template <class T>
using Integers = decltype(Vector<T>{} < Vector<T>{});

template <class T>
inline Vector<T> load(const T* from) {
  Vector<T> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class T>
inline void store(const Vector<T>& v, T* to) {
  std::memcpy(to, &v, sizeof v);
}

/// Adds the upper half to the lower one until one value is left.
template <class T, int kCount = kLanes<T>>
inline T sum_lanes(const typename VectorOf<T, kCount>::type& v) {
  if constexpr (kCount == 1) {
    return v[0];
  } else {
    typename VectorOf<T, kCount / 2>::type low, high;
    std::memcpy(&low, &v, sizeof low);
    std::memcpy(&high, reinterpret_cast<const char*>(&v) + sizeof low, sizeof high);
    return sum_lanes<T, kCount / 2>(low + high);
  }
}

}  // namespace cnnx::CNNX_ISA
