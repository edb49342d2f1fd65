// The number formats of maps and weights.
#pragma once

namespace repvgg {

// kFp8 is e4m3 with one scale per channel of a map (engine/fp8.h); the CPU simulates it in fp32.
enum class Precision { kFp32, kTf32, kFp16, kBf16, kFp8 };

constexpr int ElementSize(Precision precision) {
  if (precision == Precision::kFp8) return 1;
  return precision == Precision::kFp16 || precision == Precision::kBf16 ? 2 : 4;
}

constexpr const char* PrecisionName(Precision precision) {
  constexpr const char* kNames[] = {"fp32", "tf32", "fp16", "bf16", "fp8"};
  return kNames[static_cast<int>(precision)];
}

}  // namespace repvgg
