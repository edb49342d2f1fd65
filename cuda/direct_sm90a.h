// Direct convolution on Hopper: host side of gemm_sm90a.cuh.
#pragma once

#include "cuda/gemm_sm90a.h"

namespace repvgg::cuda {

// `precision` is kFp16, kBf16 or kFp8.
std::span<const GemmSm90aTile> ConvolutionSm90aTiles(Precision precision);

// Whether the kernels support the layer: fp16, bf16 or fp8; input and output channels per group in multiples
// of 8 (fp8: 16); at most four groups.
bool DirectSm90aFits(const Convolution& layer, Precision precision);

// `weight` is [out_channels][in_channels / groups][3][3]; `layer` needs channels and groups only.
std::vector<unsigned char> PackDirectSm90a(const Convolution& layer, const float* weight,
                                           Precision precision);

// Bytes of Convolution::workspace.
size_t DirectSm90aWorkspace(const Convolution& layer, Parts parts);

// `tile` is an index into ConvolutionSm90aTiles; parts in a cluster need a tile with adds_parts. Split
// reductions support neither pooling nor fp8.
cudaError_t LaunchDirectSm90a(const Convolution& layer, Precision precision, int tile, Parts parts,
                              cudaStream_t stream);

}  // namespace repvgg::cuda
