// The short floating-point formats, on the host.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace repvgg::emulator {

inline uint32_t FloatToBits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float BitsToFloat(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float HalfToFloat(uint16_t bits) {
  _Float16 value;
  std::memcpy(&value, &bits, sizeof value);
  return static_cast<float>(value);
}

inline uint16_t FloatToHalf(float value) {
  const _Float16 half = static_cast<_Float16>(value);
  uint16_t bits;
  std::memcpy(&bits, &half, sizeof bits);
  return bits;
}

inline float BFloat16ToFloat(uint16_t bits) { return BitsToFloat(static_cast<uint32_t>(bits) << 16); }

// To nearest, ties to even. NaN stays NaN.
inline uint16_t FloatToBFloat16(float value) {
  const uint32_t bits = FloatToBits(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline float E4m3ToFloat(uint8_t bits) {
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  if ((bits & 0x7f) == 0x7f) return BitsToFloat(0x7fc00000);
  const float magnitude =
      exponent == 0 ? std::ldexp(float(mantissa), -9) : std::ldexp(float(8 + mantissa), exponent - 10);
  return bits & 0x80 ? -magnitude : magnitude;
}

// To nearest, ties to even; beyond 448 to 448. The values' bits are in their order.
inline uint8_t FloatToE4m3(float value) {
  if (value != value) return 0x7f;
  const float magnitude = std::abs(value);
  uint8_t below = 0, above = 0x7e;
  if (magnitude >= E4m3ToFloat(above)) below = above;
  while (above - below > 1) {
    const uint8_t middle = (below + above) / 2;
    (E4m3ToFloat(middle) <= magnitude ? below : above) = middle;
  }
  const float down = magnitude - E4m3ToFloat(below), up = E4m3ToFloat(above) - magnitude;
  const uint8_t nearest = down < up || (down == up && below % 2 == 0) || below == above ? below : above;
  return nearest | (std::signbit(value) ? 0x80 : 0);
}

// To nearest, ties away from zero.
inline float FloatToTf32(float value) {
  const uint32_t bits = FloatToBits(value);
  if ((bits & 0x7f800000) == 0x7f800000) return value;
  return BitsToFloat((bits + 0x1000) & ~0x1fffu);
}

}  // namespace repvgg::emulator
