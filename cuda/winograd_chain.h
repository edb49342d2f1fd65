// Winograd's F(2x2) and F(4x4) on tensor cores through device memory, for runs of equal layers: between two
// of them, one kernel does what ends the first (inverse transform, bias, ReLU) and what begins the second
// (its transform), so that the map in between is never written. See winograd_chain_transform.cu and
// winograd.cuh.
#pragma once

#include <vector>

#include "cuda/gemm_sm90a.h"

namespace repvgg::cuda {

// The products of one layer: m[position][tile][channel out] = v[position][tile][channel in] * weight, in each
// group.
struct ChainProducts {
  const void* v = nullptr;
  const void* weight = nullptr;  // [position][group][block of 64 channels in][channel out][64]
  void* m = nullptr;
  int tiles = 0, positions = 0;
  int groups = 1, group_in = 0, group_out = 0;
};

struct ChainTile {
  int tiles, channels;
  int shared_bytes;
  const GemmSm90aTile* sm90a;  // Null for mma.sync, from sm_80 on; `launch` for the others.
  cudaError_t (*launch)(const ChainProducts& products, cudaStream_t stream);
};

// The tiles for products in fp16 or bf16 on an architecture. They all give the same sums, in the same order.
std::vector<ChainTile> ChainTiles(Precision precision, int architecture);

// Whether a layer can be done so: fp16 or bf16, stride 1, channels of a group in multiples of 8, maps that
// fit shared memory 64 channels at a time (28 x 28 does). `tile_side` is 2 or 4.
bool ChainFits(const Convolution& layer, Precision precision, int tile_side);

// Bytes of Convolution::workspace: transformed inputs and products of the whole batch. Callers take large
// batches in slices.
size_t ChainWorkspace(const Convolution& layer, int tile_side);

// `weight` is [out_channels][in_channels / groups][3][3]; `layer` needs channels and groups only. Transformed
// in float64, rounded once.
std::vector<unsigned char> PackChain(const Convolution& layer, const float* weight, Precision precision,
                                     int tile_side);

// `layer` says at which of its ends the workspace is handed on (Convolution::transformed_in,
// transformed_out). `tile` is an index of ChainTiles of an architecture that has it: the first ones are
// everybody's.
cudaError_t LaunchChain(const Convolution& layer, Precision precision, int tile_side, int tile,
                        cudaStream_t stream);

// Begins, ends or goes on with a layer.
enum class ChainStep { kBegin, kBetween, kEnd };
cudaError_t LaunchChainTransform(const Convolution& layer, Precision precision, int tile_side, ChainStep step,
                                 const void* m, void* v, cudaStream_t stream);

// The transform makes inputs larger, F(2x2)'s up to 4 times and F(4x4)'s up to 26 times. A quarter of that is
// stored, and four times the weights: exact, and it keeps fp16 inputs from overflowing, for F(2x2) all that
// fp16 holds, for F(4x4) those up to 10000.
constexpr float kChainInputScale = 0.25f;

}  // namespace repvgg::cuda
