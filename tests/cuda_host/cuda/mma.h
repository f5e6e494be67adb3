// Stands in for cpp/src/cuda/mma.h on the host: the same functions, made of exchanges between a warp's lanes.
//
// Factors are rounded bit by bit as tensor cores' conversions round them; sums are plain float32.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "cnnx/precision.h"
#include "cuda_runtime.h"
#include "wgmma_state.h"

namespace cuda_host {

/// To the nearest multiple of 2^dropped in the bits, ties away from zero or to even. NaN stays one.
inline uint32_t round_bits(float value, unsigned dropped, bool ties_to_even) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t unit = 1u << dropped, half = unit / 2;
  if (std::isnan(value)) return (bits | 0x00400000u) & ~(unit - 1);
  return (bits + (ties_to_even ? half - 1 + (bits >> dropped & 1) : half)) & ~(unit - 1);
}
inline float round_tf32(float value) { return std::bit_cast<float>(round_bits(value, 13, false)); }
inline uint16_t to_bfloat16(float value) { return static_cast<uint16_t>(round_bits(value, 16, true) >> 16); }
inline float from_bfloat16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

inline uint16_t to_float16(float value) {
  const auto sign = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16 & 0x8000u);
  const float magnitude = std::abs(value);
  if (std::isnan(value)) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 65520.0f) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x1p-14f)
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(magnitude * 0x1p24f)));
  return static_cast<uint16_t>(sign | ((round_bits(magnitude, 13, true) >> 13) - (112u << 10)));
}
inline float from_float16(uint16_t bits) {
  const int exponent = bits >> 10 & 31, digits = bits & 1023;
  float value = exponent == 31  ? (digits ? std::nanf("") : INFINITY)
                : exponent == 0 ? std::ldexp(static_cast<float>(digits), -24)
                                : std::ldexp(static_cast<float>(digits + 1024), exponent - 25);
  return bits & 0x8000 ? -value : value;
}

}  // namespace cuda_host

namespace cnnx::cuda {

template <Precision kPrecision>
inline constexpr int kPack = kPrecision == Precision::kTF32 ? 1 : 2;

template <Precision kPrecision>
uint32_t pack_word(const float* values) {
  if constexpr (kPrecision == Precision::kTF32) {
    return std::bit_cast<uint32_t>(cuda_host::round_tf32(values[0]));
  } else if constexpr (kPrecision == Precision::kBFloat16) {
    return uint32_t{cuda_host::to_bfloat16(values[0])} | uint32_t{cuda_host::to_bfloat16(values[1])} << 16;
  } else {
    return uint32_t{cuda_host::to_float16(values[0])} | uint32_t{cuda_host::to_float16(values[1])} << 16;
  }
}

template <Precision kPrecision>
float first_value(uint32_t word) {
  if constexpr (kPrecision == Precision::kTF32) return std::bit_cast<float>(word);
  const auto half = static_cast<uint16_t>(word);
  return kPrecision == Precision::kBFloat16 ? cuda_host::from_bfloat16(half) : cuda_host::from_float16(half);
}

inline void load_tiles(const uint32_t* row, uint32_t (&words)[4]) {
  const unsigned lane = cuda_host::lane();
  auto* const rows = static_cast<const uint32_t**>(cuda_host::warp_slots());
  rows[lane] = row;
  cuda_host::wait_for_warp();
  for (unsigned tile = 0; tile < 4; ++tile) words[tile] = rows[tile * 8 + lane / 4][lane % 4];
  cuda_host::wait_for_warp();
}

/// The product of all numbers of two words, added to the sum.
template <Precision kPrecision>
float add_product(float sum, uint32_t a, uint32_t b) {
  if constexpr (kPrecision == Precision::kTF32) {
    return sum + first_value<kPrecision>(a) * first_value<kPrecision>(b);
  } else {
    return sum + first_value<kPrecision>(a) * first_value<kPrecision>(b) +
           first_value<kPrecision>(a >> 16) * first_value<kPrecision>(b >> 16);
  }
}

template <Precision kPrecision>
void multiply_add(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  struct Words {
    uint32_t a[4], b[2];
  };
  const unsigned lane = cuda_host::lane();
  auto* const all = static_cast<Words*>(cuda_host::warp_slots());
  all[lane] = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
  cuda_host::wait_for_warp();
  for (unsigned i = 0; i < 4; ++i) {
    const Words* const row = all + lane / 4 * 4;
    const Words* const column = all + (lane % 4 * 2 + i % 2) * 4;
    for (unsigned word = 0; word < 8; ++word) {
      sums[i] = add_product<kPrecision>(sums[i], row[word % 4].a[word / 4 * 2 + i / 2], column[word % 4].b[word / 4]);
    }
  }
  cuda_host::wait_for_warp();
}

inline void put_four(uint32_t* shared, const uint32_t (&words)[4]) {
  struct alignas(16) Four {
    uint32_t words[4];
  };
  *reinterpret_cast<Four*>(shared) = {{words[0], words[1], words[2], words[3]}};
  cuda_host::note_write(shared);
}

/// The copy comes as late as it may: who does not wait for it finds NaN.
struct PendingCopy {
  uint32_t* to;
  const uint32_t* from;  // null: zeros
};
inline std::vector<PendingCopy>& pending_copies() {
  static std::vector<std::vector<PendingCopy>> of_threads(1024);
  return of_threads[threadIdx.x];
}
inline void copy_four(uint32_t* shared, const uint32_t* global, bool inside) {
  std::memset(shared, 0xff, 16);
  cuda_host::note_write(shared);
  pending_copies().push_back({shared, inside ? global : nullptr});
}
inline void wait_for_copies() {
  for (const PendingCopy& copy : pending_copies()) {
    for (int i = 0; i < 4; ++i) copy.to[i] = copy.from ? copy.from[i] : 0;
    cuda_host::note_write(copy.to);
  }
  pending_copies().clear();
}

}  // namespace cnnx::cuda
