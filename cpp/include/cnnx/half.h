// The 16-bit floating-point types: storage and conversion. Arithmetic is float32's.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>

namespace cnnx {
namespace detail {

/// The bits of the nearest number with kFraction bits behind the point and exponents of 15 - kFraction bits; of two
/// equally near ones the even one. No detour by float32, which would round twice.
template <int kFraction>
constexpr uint16_t nearest_bits(double value) {
  constexpr int kFrom = 52, kFromMax = 0x7FF, kFromBias = 0x3FF;
  constexpr int kMax = (1 << (15 - kFraction)) - 1, kBias = kMax / 2;
  constexpr auto kInfinity = static_cast<uint16_t>(kMax << kFraction);
  const auto bits = std::bit_cast<uint64_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 63 << 15);
  const int exponent = static_cast<int>(bits >> kFrom) & kFromMax;
  const uint64_t fraction = bits & ((uint64_t{1} << kFrom) - 1);
  if (exponent == kFromMax && fraction != 0)
    return sign | kInfinity | uint16_t{1} << (kFraction - 1) | static_cast<uint16_t>(fraction >> (kFrom - kFraction));
  if (exponent == kFromMax) return sign | kInfinity;
  const uint64_t significand = exponent == 0 ? fraction : fraction | uint64_t{1} << kFrom;
  const int scale = (exponent == 0 ? 1 : exponent) - kFromBias + kBias;  // the exponent here, 1 and more if normal
  int shift = kFrom - kFraction + (scale < 1 ? 1 - scale : 0);
  if (shift > kFrom + 2) shift = kFrom + 2;  // less than half of the least number
  const uint64_t rest = significand & ((uint64_t{1} << shift) - 1), half = uint64_t{1} << (shift - 1);
  uint64_t kept = significand >> shift;
  kept += rest > half || (rest == half && (kept & 1) != 0);
  if (scale > kMax) return sign | kInfinity;
  const auto magnitude = static_cast<int>(kept) + (scale > 1 ? (scale - 1) << kFraction : 0);
  return sign | static_cast<uint16_t>(magnitude < kInfinity ? magnitude : kInfinity);
}

}  // namespace detail

/// IEEE 754's binary16: 11 significant bits, up to 65504, down to 6e-8.
struct float16 {
  uint16_t bits = 0;

  constexpr float16() = default;
  explicit constexpr float16(float value) : bits(rounded(std::bit_cast<uint32_t>(value))) {}
  explicit constexpr float16(double value) : bits(detail::nearest_bits<10>(value)) {}
  template <std::integral T>
  explicit constexpr float16(T value) : float16(static_cast<double>(value)) {}

  constexpr operator float() const {
    const uint32_t sign = uint32_t{bits} >> 15 << 31, magnitude = bits & 0x7FFF;
    const uint32_t shifted = magnitude << 13;
    // Subnormal numbers are multiples of 2^-24; the exponents of infinity and NaN are float32's largest.
    const uint32_t small = std::bit_cast<uint32_t>(static_cast<float>(static_cast<int>(magnitude)) * 0x1p-24f);
    const uint32_t normal = shifted + (magnitude < 0x7C00 ? 112u << 23 : 224u << 23);
    return std::bit_cast<float>(sign | (magnitude < 0x400 ? small : normal));
  }

 private:
  /// Without branches, so that loops over it are vectorised.
  static constexpr uint16_t rounded(uint32_t value) {
    const uint32_t sign = value >> 31 << 15, magnitude = value & 0x7FFFFFFF;
    // Below 2^-14: the sum's last bits are those of the subnormal number.
    const float least = std::bit_cast<float>(magnitude < (113u << 23) ? magnitude : 0) + 0.5f;
    const uint32_t small = std::bit_cast<uint32_t>(least) - (126u << 23);
    const uint32_t normal = (magnitude - (112u << 23) + 0xFFF + (magnitude >> 13 & 1)) >> 13;
    const uint32_t nan = 0x7E00 | (magnitude >> 13 & 0x3FF);
    const uint32_t large = magnitude > (255u << 23) ? nan : 0x7C00;
    const uint32_t finite = magnitude < (113u << 23) ? small : normal;
    return static_cast<uint16_t>(sign | (magnitude < (143u << 23) - 0x1000 ? finite : large));
  }
};

/// The upper half of a float32: 8 significant bits, float32's range.
struct bfloat16 {
  uint16_t bits = 0;

  constexpr bfloat16() = default;
  explicit constexpr bfloat16(float value) : bits(rounded(std::bit_cast<uint32_t>(value))) {}
  explicit constexpr bfloat16(double value) : bits(detail::nearest_bits<7>(value)) {}
  template <std::integral T>
  explicit constexpr bfloat16(T value) : bfloat16(static_cast<double>(value)) {}

  constexpr operator float() const { return std::bit_cast<float>(uint32_t{bits} << 16); }

 private:
  static constexpr uint16_t rounded(uint32_t value) {
    const uint32_t nearest = (value + 0x7FFF + (value >> 16 & 1)) >> 16, nan = value >> 16 | 0x40;
    return static_cast<uint16_t>((value & 0x7FFFFFFF) > 0x7F800000 ? nan : nearest);
  }
};

}  // namespace cnnx
