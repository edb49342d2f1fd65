// e4m3: 1 sign, 4 exponent and 3 mantissa bits, no infinities (OCP 8-bit Floating Point Specification). The
// largest value is 448, the smallest positive one 2^-9, the smallest normal one 2^-6.
#pragma once

#include <bit>
#include <cstdint>

namespace repvgg {

inline constexpr float kLargestE4m3 = 448;

// Rounds to nearest, ties to even, and saturates, like PTX's cvt.rn.satfinite. NaN stays NaN.
constexpr float RoundToE4m3(float value) {
  if (value != value) return value;
  const uint32_t bits = std::bit_cast<uint32_t>(value), sign = bits & 0x80000000u;
  const float magnitude = std::bit_cast<float>(bits & 0x7fffffffu);
  if (magnitude >= kLargestE4m3) return sign ? -kLargestE4m3 : kLargestE4m3;
  const uint32_t exponent = bits >> 23 & 0xff, least = 127 - 6;
  // Adding this leaves the sum with the result's precision: its unit in the last place is that of e4m3.
  const float large = std::bit_cast<float>(((exponent > least ? exponent : least) + 20) << 23);
  const float rounded = magnitude + large - large;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(rounded) | sign);
}

constexpr uint8_t FloatToE4m3Bits(float value) {
  if (value != value) return 0x7f;
  const uint32_t bits = std::bit_cast<uint32_t>(RoundToE4m3(value));
  const uint32_t sign = bits >> 24 & 0x80, magnitude = bits & 0x7fffffffu;
  // Subnormal: a multiple of 2^-9.
  if (magnitude < (127 - 6) << 23) {
    return static_cast<uint8_t>(sign | static_cast<uint32_t>(std::bit_cast<float>(magnitude) * 512));
  }
  return static_cast<uint8_t>(sign | ((magnitude >> 20) - ((127 - 7) << 3)));
}

}  // namespace repvgg
