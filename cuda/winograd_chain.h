// Non-fused Winograd F(2x2) and F(4x4) on tensor cores: transformed inputs and products go through device
// memory. In runs of equal layers (chains), one kernel between two layers does the inverse transform, bias
// and ReLU of the first and the input transform of the second, so that the map between them is never written.
// See winograd_chain_transform.cu and winograd.cuh.
#pragma once

#include <vector>

#include "cuda/gemm_sm90a.h"

namespace repvgg::cuda {

// The batched products of one layer: m[position][tile][output channel] = v[position][tile][input channel] *
// weight, per group.
struct ChainProducts {
  const void* v = nullptr;
  const void* weight = nullptr;  // [position][group][block of 64 input channels][output channel][64]
  void* m = nullptr;
  int tiles = 0, positions = 0;
  int groups = 1, group_in = 0, group_out = 0;
};

struct ChainTile {
  int tiles, channels;
  int shared_bytes;
  const GemmSm90aTile* sm90a;  // Null for mma.sync (sm_80 and up), which has `launch`.
  cudaError_t (*launch)(const ChainProducts& products, cudaStream_t stream);
};

// The tiles for products in fp16 or bf16 on an architecture. Those of one instruction add the same
// products in the same order; PTX leaves the order within an instruction open.
std::vector<ChainTile> ChainTiles(Precision precision, int architecture);

// Whether the kernels support the layer: fp16 or bf16, stride 1, channels per group in multiples of 8, maps
// of which 64 channels fit shared memory (28 x 28 does). `tile_side` is 2 or 4.
bool ChainFits(const Convolution& layer, Precision precision, int tile_side);

// Bytes of Convolution::workspace: transformed inputs and products of the whole batch. Callers slice large
// batches.
size_t ChainWorkspace(const Convolution& layer, int tile_side);

// `weight` is [out_channels][in_channels / groups][3][3]; `layer` needs channels and groups only. The
// transform is computed in float64 and rounded once.
std::vector<unsigned char> PackChain(const Convolution& layer, const float* weight, Precision precision,
                                     int tile_side);

// Convolution::transformed_in and transformed_out say whether the workspace is taken over or handed on.
// `tile` is an index into ChainTiles of an architecture that has it; the mma.sync tiles come first on all.
cudaError_t LaunchChain(const Convolution& layer, Precision precision, int tile_side, int tile,
                        cudaStream_t stream);

// Input transform of the first layer, inverse and next input transform, inverse transform of the last layer.
enum class ChainStep { kBegin, kBetween, kEnd };
cudaError_t LaunchChainTransform(const Convolution& layer, Precision precision, int tile_side, ChainStep step,
                                 const void* m, void* v, cudaStream_t stream);

// The input transform amplifies values by up to 4 (F(2x2)) or 26 (F(4x4)). A quarter of the result is stored,
// and the weights are scaled by four: that is exact and keeps fp16 from overflowing, in F(2x2) for all fp16
// inputs, in F(4x4) for inputs up to 10000.
constexpr float kChainInputScale = 0.25f;

}  // namespace repvgg::cuda
