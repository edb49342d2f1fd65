// The F(2x2, 3x3) kernels of each precision, as winograd_f2.cc picks them.
#pragma once

#include "cuda/winograd_f2.h"

namespace repvgg::cuda {

struct WinogradFamily {
  std::span<const TileShape> tiles;
  cudaError_t (*const* launch)(const Convolution&, cudaStream_t);
  int depth;  // Input channels of a step.
};

extern const WinogradFamily kWinogradF2Fp32, kWinogradF2Fp16, kWinogradF2Bf16;

}  // namespace repvgg::cuda
