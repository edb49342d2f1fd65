// Host side of winograd_f4_fp32.cu: Winograd's F(4x4, 3x3) in fp32, stride 1. See winograd.cuh.
#pragma once

#include "cuda/convolution.h"
#include "cuda/runtime.h"
#include "cuda/tile_shape.h"

namespace repvgg::cuda {

std::span<const TileShape> WinogradF4TileTable();

// Whether the kernels can do the layer at all: stride 1, channels of a group in multiples of 4, and an image
// whose transforms fit the workspace.
bool WinogradF4Fits(const Convolution& layer);

// The images that are worked on at a time.
int WinogradF4SliceImages(const Convolution& layer);
// Bytes of Convolution::workspace that the layer needs, kWorkspaceBytes at most.
size_t WinogradF4Workspace(const Convolution& layer);

// `weight` is [out_channels][in_channels / groups][3][3]; `layer` needs channels and groups only. Transformed
// in float64, rounded once.
std::vector<float> PackWinogradF4(const Convolution& layer, const float* weight);

// `tile` is an index of WinogradF4TileTable.
cudaError_t LaunchWinogradF4(const Convolution& layer, int tile, cudaStream_t stream);

}  // namespace repvgg::cuda
