// Host side of limit_kernels.cu.
#pragma once

#include <cstdint>

#include "cuda/convolution.h"
#include "cuda/runtime.h"

namespace repvgg::cuda {

inline constexpr int kLimitThreads = 256;
inline constexpr int kLimitChains = 8;  // Independent products of a warp.
inline constexpr int kFmaChains = 16;   // Independent sums of a thread.

inline constexpr int kWgmmaSharedBytes = (64 + 256) * 128;
inline constexpr int kWmmaSharedBytes = kLimitChains / 2 * 16 * 16 * 4;

// What layer_timer.cc gives the kernels: values from -0.05 to 0.05, another for each `bits`. Operands that
// are all equal, or nearly zero, switch few transistors; a GPU that its power limits then runs at a higher
// clock than any kernel sees, and everything held against that peak looks worse than it is.
constexpr float LimitValue(uint32_t bits) {
  bits *= 0x9e3779b9u;
  bits = (bits ^ bits >> 16) * 0x85ebca6bu;
  return static_cast<float>(static_cast<int32_t>(bits ^ bits >> 13) >> 8) * (0.05f / (1 << 23));
}

enum class MatrixUnit { kWmma, kMma, kWgmma };

// Of one block and round, a multiply-add being two: 16 x 8 x 16 a warp and chain (16 x 8 x 8 in tf32), by
// wmma half as many chains of twice the size, by wgmma 64 x 256 x 64 (128 in fp8) for each four warps.
constexpr double MatrixOperations(Precision precision, MatrixUnit unit) {
  if (unit == MatrixUnit::kWgmma) {
    return 2.0 * 64 * 256 * 128 / ElementSize(precision) * kLimitThreads / 128;
  }
  return 2.0 * 16 * 8 * (precision == Precision::kTf32 ? 8 : 16) * kLimitChains * kLimitThreads / 32;
}

// `out` has a float for each thread. kWmma is for fp16, kWgmma for fp16, bf16 and fp8.
cudaError_t LaunchMatrixLimit(Precision precision, MatrixUnit unit, int blocks, int rounds, float* out,
                              cudaStream_t stream);
// kFmaChains of a thread: sum i becomes sum * FmaFactor(thread, i / 4) + FmaAddend(thread, i % 4), from 0.
constexpr float FmaFactor(uint32_t thread, int i) { return 20 * LimitValue(8 * thread + i); }
constexpr float FmaAddend(uint32_t thread, int i) { return LimitValue(8 * thread + 4 + i); }
cudaError_t LaunchFmaLimit(int blocks, int rounds, float* out, cudaStream_t stream);
// `words` of 16 bytes, a multiple of 4 kLimitThreads, are read by every block.
cudaError_t LaunchReadLimit(const void* in, int words, int blocks, float* out, cudaStream_t stream);

}  // namespace repvgg::cuda
