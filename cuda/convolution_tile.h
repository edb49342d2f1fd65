// The tiles that a family of kernels is built with, as the host knows them.
#pragma once

#include <span>

#include "cuda/convolution.h"
#include "cuda/runtime.h"

namespace repvgg::cuda {

struct ConvolutionTile {
  int rows;  // Of the product: output pixels, or Winograd's tiles of them.
  int channels;
  int shared_bytes;
  // Needs channels of a group, in and out, that fill 16 bytes: in multiples of 8 in 16-bit types, of 4 in
  // fp32 and tf32.
  bool aligned;
  cudaError_t (*launch)(const Convolution& layer, cudaStream_t stream);
};

}  // namespace repvgg::cuda
