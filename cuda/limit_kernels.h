// Host side of limit_kernels.cu.
#pragma once

#include <cstdint>

#include "cuda/convolution.h"
#include "cuda/runtime.h"

namespace repvgg::cuda {

inline constexpr int kLimitThreads = 256;
inline constexpr int kLimitChains = 8;  // Independent accumulators per warp.
inline constexpr int kFmaChains = 16;   // Independent sums per thread.

inline constexpr int kWgmmaSharedBytes = (64 + 256) * 128;
inline constexpr int kWmmaSharedBytes = kLimitChains / 2 * 16 * 16 * 4;

// Operands like those of layer_timer.cc: values from -0.05 to 0.05, a different one for each `bits`. Equal or
// near-zero operands switch few transistors; a power-limited GPU then clocks higher than under any real
// kernel, and everything compared with such a peak looks worse than it is.
constexpr float LimitValue(uint32_t bits) {
  bits *= 0x9e3779b9u;
  bits = (bits ^ bits >> 16) * 0x85ebca6bu;
  return static_cast<float>(static_cast<int32_t>(bits ^ bits >> 13) >> 8) * (0.05f / (1 << 23));
}

enum class MatrixUnit { kWmma, kMma, kWgmma };

// Operations per block and round (a multiply-add counts as two): 16 x 8 x 16 (tf32: 16 x 8 x 8) per warp and
// chain; wmma has half as many chains of twice the size; wgmma 64 x 256 x 64 (fp8: 128) per warpgroup.
constexpr double MatrixOperations(Precision precision, MatrixUnit unit) {
  if (unit == MatrixUnit::kWgmma) {
    return 2.0 * 64 * 256 * 128 / ElementSize(precision) * kLimitThreads / 128;
  }
  return 2.0 * 16 * 8 * (precision == Precision::kTf32 ? 8 : 16) * kLimitChains * kLimitThreads / 32;
}

// `out` has one float per thread. kWmma supports fp16; kWgmma fp16, bf16 and fp8.
cudaError_t LaunchMatrixLimit(Precision precision, MatrixUnit unit, int blocks, int rounds, float* out,
                              cudaStream_t stream);
// Per thread kFmaChains sums, from 0: sum i becomes sum * FmaFactor(thread, i / 4) + FmaAddend(thread, i %
// 4).
constexpr float FmaFactor(uint32_t thread, int i) { return 20 * LimitValue(8 * thread + i); }
constexpr float FmaAddend(uint32_t thread, int i) { return LimitValue(8 * thread + 4 + i); }
cudaError_t LaunchFmaLimit(int blocks, int rounds, float* out, cudaStream_t stream);
// Every block reads `words` 16-byte words, a multiple of 4 kLimitThreads.
cudaError_t LaunchReadLimit(const void* in, int words, int blocks, float* out, cudaStream_t stream);

}  // namespace repvgg::cuda
