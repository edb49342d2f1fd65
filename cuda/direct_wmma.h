// Host side of direct_wmma.cu. Weights come from PackDirectMma in fp16.
#pragma once

#include "cuda/convolution_tile.h"

namespace repvgg::cuda {

std::span<const ConvolutionTile> DirectWmmaTileTable();

}  // namespace repvgg::cuda
