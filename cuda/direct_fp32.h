// Host side of direct_fp32.cu.
#pragma once

#include "cuda/convolution_tile.h"

namespace repvgg::cuda {

std::span<const ConvolutionTile> DirectFp32TileTable();

// `weight` is [out_channels][in_channels / groups][3][3]; `layer` needs channels and groups only.
std::vector<unsigned char> PackDirectFp32(const Convolution& layer, const float* weight);

}  // namespace repvgg::cuda
