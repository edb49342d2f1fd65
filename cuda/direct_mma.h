// Host side of direct_mma.cuh.
#pragma once

#include "cuda/convolution.h"
#include "cuda/runtime.h"
#include "cuda/tile_shape.h"

namespace repvgg::cuda {

// The tiles of one type, and how each is launched.
struct DirectMmaFamily {
  std::span<const TileShape> tiles;
  cudaError_t (*const* launch)(const Convolution&, cudaStream_t);
};

// `precision` is kFp16, kBf16 or kTf32. Maps are in that type; tf32 maps are floats, rounded to tf32.
std::span<const TileShape> DirectMmaTileTable(Precision precision);

// `weight` is [out_channels][in_channels / groups][3][3]; `layer` needs channels and groups only.
std::vector<unsigned char> PackDirectMma(const Convolution& layer, const float* weight, Precision precision);

// `tile` is an index of DirectMmaTileTable.
cudaError_t LaunchDirectMma(const Convolution& layer, Precision precision, int tile, cudaStream_t stream);

}  // namespace repvgg::cuda
