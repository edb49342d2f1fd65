// Host side of winograd_f4_fp32.cu: Winograd's F(4x4, 3x3) in fp32, stride 1. See winograd.cuh.
#pragma once

#include "cuda/convolution_tile.h"

namespace repvgg::cuda {

std::span<const ConvolutionTile> WinogradF4TileTable();

// Whether the kernels support the layer: stride 1, channels per group in multiples of 4, and an image whose
// transforms fit the workspace.
bool WinogradF4Fits(const Convolution& layer);

// Bytes of Convolution::workspace: transformed inputs and products of the whole batch. Callers slice large
// batches.
size_t WinogradF4Workspace(const Convolution& layer);

// `weight` is [out_channels][in_channels / groups][3][3]; `layer` needs channels and groups only. The
// transform is computed in float64 and rounded once.
std::vector<unsigned char> PackWinogradF4(const Convolution& layer, const float* weight);

}  // namespace repvgg::cuda
