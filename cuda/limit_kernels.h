// Host side of limits.cu.
#pragma once

#include "cuda/convolution.h"
#include "cuda/runtime.h"

namespace repvgg::cuda {

inline constexpr int kLimitThreads = 256;
inline constexpr int kLimitChains = 8;  // Independent products of a warp.
inline constexpr int kFmaChains = 16;   // Independent sums of a thread.

inline constexpr int kWgmmaSharedBytes = (64 + 256) * 128;
inline constexpr int kWmmaSharedBytes = kLimitChains / 2 * 16 * 16 * 4;

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
cudaError_t LaunchFmaLimit(int blocks, int rounds, float* out, cudaStream_t stream);
// `words` of 16 bytes, a multiple of 4 kLimitThreads, are read by every block.
cudaError_t LaunchReadLimit(const void* in, int words, int blocks, float* out, cudaStream_t stream);

}  // namespace repvgg::cuda
