// Host side of limits.cu.
#pragma once

#include "cuda/convolution.h"
#include "cuda/runtime.h"

namespace repvgg::cuda {

inline constexpr int kLimitThreads = 256;
inline constexpr int kLimitChains = 8;  // Independent products of a warp.
inline constexpr int kFmaChains = 16;   // Independent sums of a thread.

// Operations of one warp and round: 16 x 8 x 16 multiply-adds, 16 x 8 x 8 in tf32; by wmma half as many of
// twice the size.
constexpr double MatrixOperations(Precision precision) {
  return 2.0 * 16 * 8 * (precision == Precision::kTf32 || precision == Precision::kFp32 ? 8 : 16) *
         kLimitChains;
}

// `out` has a float for each thread. `volta` is for fp16 before sm_75.
cudaError_t LaunchMatrixLimit(Precision precision, bool volta, int blocks, int rounds, float* out,
                              cudaStream_t stream);
cudaError_t LaunchFmaLimit(int blocks, int rounds, float* out, cudaStream_t stream);
// `words` of 16 bytes, a multiple of 4 kLimitThreads, are read by every block.
cudaError_t LaunchReadLimit(const void* in, int words, int blocks, float* out, cudaStream_t stream);

}  // namespace repvgg::cuda
