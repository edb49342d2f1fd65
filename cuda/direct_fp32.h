// Host side of direct_fp32.cu.
#pragma once

#include <span>

#include "cuda/convolution.h"
#include "cuda/runtime.h"

namespace repvgg::cuda {

struct DirectFp32Tile {
  int pixels;
  int channels;
  int threads;
  int shared_bytes;
  bool aligned;  // Needs channels of a group, in and out, that are multiples of 4.
};

std::span<const DirectFp32Tile> DirectFp32TileTable();

// `weight` is [out_channels][in_channels / groups][3][3]; `layer` needs channels and groups only.
std::vector<float> PackDirectFp32(const Convolution& layer, const float* weight);

// `tile` is an index of DirectFp32TileTable.
cudaError_t LaunchDirectFp32(const Convolution& layer, int tile, cudaStream_t stream);

}  // namespace repvgg::cuda
