// Host side of direct_wmma.cu. Weights are those of PackDirectMma in fp16.
#pragma once

#include "cuda/convolution.h"
#include "cuda/runtime.h"
#include "cuda/tile_shape.h"

namespace repvgg::cuda {

std::span<const TileShape> DirectWmmaTileTable();

// `tile` is an index of DirectWmmaTileTable.
cudaError_t LaunchDirectWmma(const Convolution& layer, int tile, cudaStream_t stream);

}  // namespace repvgg::cuda
