// The tiles that a family of kernels is instantiated with, as the host sees them.
#pragma once

#include <span>

#include "cuda/convolution.h"
#include "cuda/runtime.h"

namespace repvgg::cuda {

struct ConvolutionTile {
  int rows;  // Rows of the GEMM: output pixels or Winograd tiles.
  int channels;
  int shared_bytes;
  // Requires input and output channels per group that fill 16-byte chunks: multiples of 8 in 16-bit types, of
  // 4 in fp32 and tf32.
  bool aligned;
  cudaError_t (*launch)(const Convolution& layer, cudaStream_t stream);
};

}  // namespace repvgg::cuda
