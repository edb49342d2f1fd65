// Runs functions of cuda/ptx.cuh in one warp each. Pointers are device pointers.
#pragma once

#include <cstdint>

#include "cuda/convolution.h"
#include "cuda/runtime.h"

namespace repvgg::gpu {

// d[lane][4] += a[lane][4] * b[lane][2], as fragments of `precision` (not fp32).
cudaError_t RunMma(cuda::Precision precision, const uint32_t* a, const uint32_t* b, float* d);

// Four 8x8 matrices of 16-bit values, contiguous. out[lane]: 4 words of LdMatrixX4, 2 of LdMatrixX2.
cudaError_t RunLdMatrix(const uint32_t* matrices, uint32_t* out);

// Copies through CpAsync<16> and shared memory; every other group of 4 words is zero-filled.
cudaError_t RunCpAsync(const uint32_t* in, uint32_t* out);

struct Converted {
  float tf32;
  uint16_t half, bfloat16;
  uint32_t half_pair, bfloat16_pair;  // The value and its negative.
  float shuffled;                     // The value of lane ^ 5.
};
cudaError_t RunConvert(const float* in, Converted* out, int warps);

// Whether LaunchOverlapped overlaps kernels of this build.
bool MayOverlap();

}  // namespace repvgg::gpu
