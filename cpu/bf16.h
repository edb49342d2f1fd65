#pragma once

#include <bit>
#include <cstdint>

namespace repvgg::cpu {

// The upper half of a float: 8 bits of exponent, 8 of precision.
struct Bf16 {
  uint16_t bits;
};

// Rounds to nearest even. NaN stays NaN.
inline Bf16 ToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (value != value) return {static_cast<uint16_t>((bits >> 16) | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

inline float ToFloat(Bf16 value) { return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16); }

}  // namespace repvgg::cpu
