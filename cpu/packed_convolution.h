#pragma once

#include <cstddef>

#include "cpu/kernels.h"
#include "engine/huge_array.h"

namespace repvgg::cpu {

struct PackedConvolution : Convolution {
  HugeArray<float> storage;  // weight, then bias
};

// A convolution whose weights and biases are zeros, for blocks of that width.
PackedConvolution MakePacked(int taps, int in_channels, int out_channels, int stride, int groups,
                             int block_width);

// Packs weights, [count][in_channels / groups][taps], of output channels from `first` on.
void PackWeights(PackedConvolution& packed, const float* weight, size_t first, size_t count);

void PackBias(PackedConvolution& packed, const float* bias);

}  // namespace repvgg::cpu
