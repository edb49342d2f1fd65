// Rounds weights to the kernels' number formats, on the host.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "cuda/convolution.h"
#include "engine/e4m3.h"
#include "engine/kernel_rounding.h"

namespace repvgg::cuda {

// IEEE binary16, to nearest, ties to even; overflows to infinity.
constexpr uint16_t FloatToHalfBits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);
  if (magnitude >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);
  if (magnitude < 0x38800000) {
    // Subnormal: adding 0.5 aligns the result, a multiple of 2^-24, with the lowest bits of the sum.
    const float sum = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(sum) - 0x3f000000));
  }
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13));
}

constexpr uint16_t FloatToBFloat16Bits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// 10 bits of mantissa, to nearest, ties away from zero, as cvt.rna.tf32 does.
constexpr uint32_t FloatToTf32Bits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7f800000) == 0x7f800000) return bits;
  return (bits + 0x1000) & ~0x1fffu;
}

constexpr float HalfBitsToFloat(uint16_t bits) {
  const uint32_t magnitude = bits & 0x7fff;
  const float value = magnitude < 0x400     ? static_cast<float>(magnitude) * 0x1p-24f
                      : magnitude >= 0x7c00 ? std::bit_cast<float>(0x7f800000 | magnitude << 13)
                                            : std::bit_cast<float>((magnitude << 13) + 0x38000000);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | (bits & 0x8000u) << 16);
}

// The bits of the nearest value of the format, in the lowest ElementSize bytes.
constexpr uint32_t FormatBits(float value, Precision precision) {
  switch (precision) {
    case Precision::kFp32:
      return std::bit_cast<uint32_t>(value);
    case Precision::kTf32:
      return FloatToTf32Bits(value);
    case Precision::kFp16:
      return FloatToHalfBits(value);
    case Precision::kBf16:
      return FloatToBFloat16Bits(value);
    case Precision::kFp8:
      return FloatToE4m3Bits(value);
  }
  return 0;
}

// The nearest value of the format.
constexpr float RoundToFormat(float value, Precision precision) {
  switch (precision) {
    case Precision::kFp32:
      return value;
    case Precision::kTf32:
      return std::bit_cast<float>(FloatToTf32Bits(value));
    case Precision::kFp16:
      return HalfBitsToFloat(FloatToHalfBits(value));
    case Precision::kBf16:
      return std::bit_cast<float>(uint32_t{FloatToBFloat16Bits(value)} << 16);
    case Precision::kFp8:
      return RoundToE4m3(value);
  }
  return value;
}

// Rounds 3x3 kernels such that the sum of each kernel is preserved (engine/kernel_rounding.h). For direct
// convolution only: Winograd's transform gives other values, which are rounded again. Large layers are split
// among threads: the largest network has 12 million kernels of some 100 ns each.
inline std::vector<float> RoundKernels(const float* weight, size_t count, Precision precision) {
  constexpr size_t kThreads = 4, kFew = 1 << 14;
  std::vector<float> rounded(count * 9);
  const auto round = [=, to = rounded.data()](size_t begin, size_t end) {
    for (size_t at = begin * 9; at < end * 9; at += 9) {
      RoundKernel(weight + at, to + at, [=](float value) { return RoundToFormat(value, precision); });
    }
  };
  const size_t part = count < kFew ? count : count / kThreads;
  {
    std::vector<std::jthread> others;
    for (size_t begin = part; begin < count; begin += part) {
      others.emplace_back(round, begin, std::min(count, begin + part));
    }
    round(0, part);
  }
  return rounded;
}

}  // namespace repvgg::cuda
