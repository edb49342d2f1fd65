// Host side of direct_mma.cuh.
#pragma once

#include "cuda/convolution_tile.h"

namespace repvgg::cuda {

// `precision` is kFp16, kBf16 or kTf32. Maps are stored in that type; tf32 maps are floats rounded to tf32.
std::span<const ConvolutionTile> DirectMmaTileTable(Precision precision);

// `weight` is [out_channels][in_channels / groups][3][3]; `layer` needs channels and groups only.
std::vector<unsigned char> PackDirectMma(const Convolution& layer, const float* weight, Precision precision);

}  // namespace repvgg::cuda
