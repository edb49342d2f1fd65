// Host side of winograd_f2_fp32.cu and winograd_f2_mma.cu: Winograd's F(2x2, 3x3), stride 1. See
// winograd.cuh.
#pragma once

#include "cuda/convolution_tile.h"

namespace repvgg::cuda {

// The input transform amplifies values by up to four, beyond what fp16 holds. In fp16, transformed inputs are
// scaled by a quarter and weights by four, which is exact except for inputs below 2^-12.
constexpr float InputScale(Precision precision) { return precision == Precision::kFp16 ? 0.25f : 1.0f; }

// Input channels per step.
constexpr int InputDepth(Precision precision) { return precision == Precision::kFp32 ? 8 : 16; }

// `precision` is kFp32, kFp16 or kBf16.
std::span<const ConvolutionTile> WinogradF2TileTable(Precision precision);

// Whether the kernels support the layer: stride 1, and input and output channels per group in multiples of 4
// (fp32) or 8.
bool WinogradF2Fits(const Convolution& layer, Precision precision);

// `weight` is [out_channels][in_channels / groups][3][3]; `layer` needs channels and groups only. The
// transform is computed in float64 and rounded once.
std::vector<unsigned char> PackWinogradF2(const Convolution& layer, const float* weight, Precision precision);

}  // namespace repvgg::cuda
