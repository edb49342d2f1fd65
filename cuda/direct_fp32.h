// Host side of direct_fp32.cu.
#pragma once

#include "cuda/convolution.h"
#include "cuda/runtime.h"
#include "cuda/tile_shape.h"

namespace repvgg::cuda {

std::span<const TileShape> DirectFp32TileTable();

// `weight` is [out_channels][in_channels / groups][3][3]; `layer` needs channels and groups only.
std::vector<float> PackDirectFp32(const Convolution& layer, const float* weight);

// `tile` is an index of DirectFp32TileTable.
cudaError_t LaunchDirectFp32(const Convolution& layer, int tile, cudaStream_t stream);

}  // namespace repvgg::cuda
