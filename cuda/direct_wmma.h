// Host side of direct_wmma.cu. Weights are those of PackDirectMma in fp16.
#pragma once

#include <span>

#include "cuda/direct_mma.h"

namespace repvgg::cuda {

std::span<const DirectMmaTile> DirectWmmaTileTable();

// `tile` is an index of DirectWmmaTileTable.
cudaError_t LaunchDirectWmma(const Convolution& layer, int tile, cudaStream_t stream);

}  // namespace repvgg::cuda
