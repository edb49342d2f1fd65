// The ways to compute one convolution layer, algorithm and tile, behind one set of functions.
#pragma once

#include <string>
#include <vector>

#include "cuda/convolution_tile.h"

namespace repvgg::cuda {

enum class Algorithm {
  kDirect,
  kDirectWmma,
  kDirectSm90a,
  kWinogradF2,
  kWinogradF4,
  kChainF2,
  kChainF4,
  kStemFused,  // With the first layer, in one kernel.
};

// Winograd through device memory: layers that follow each other can leave the map between them out.
constexpr bool IsChain(Algorithm algorithm) {
  return algorithm == Algorithm::kChainF2 || algorithm == Algorithm::kChainF4;
}

// m of Winograd's F(m x m); 1 of the others.
constexpr int TileSide(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kWinogradF2:
    case Algorithm::kChainF2:
      return 2;
    case Algorithm::kWinogradF4:
    case Algorithm::kChainF4:
      return 4;
    default:
      return 1;
  }
}

struct Candidate {
  Algorithm algorithm = Algorithm::kDirect;
  int tile = 0;  // Index into the algorithm's table of tiles.
  // "direct 128x64", "wmma 64x64", "sm90a 256x128", "sm90a ping-pong 128x96", "sm90a split 3 128x96", "sm90a
  // cluster 4 ping-pong 64x64", "sm90a multicast weights 256x128", "f2 32x64", "f2 chain 128x64 by 16 MB",
  // "fused 64x48": pixels (of Winograd, tiles) by channels.
  std::string name;
  Parts parts = {};                          // kDirectSm90a.
  size_t workspace_bytes = kWorkspaceBytes;  // What slices of the batch stay within.
};

// Of kDirect, kDirectWmma, kWinogradF2 and kWinogradF4.
std::span<const ConvolutionTile> TilesOf(Algorithm algorithm, Precision precision);

// `weight` is [out_channels][in_channels / groups][3][3]. Tiles of an algorithm share one layout. Direct
// convolution gets kernels whose sums rounding has kept (RoundKernels in cuda/formats.h).
std::vector<unsigned char> PackConvolution(const Convolution& layer, const float* weight, Precision precision,
                                           Algorithm algorithm);

// Whether the candidate knows Convolution::pooled.
bool PoolsItself(const Candidate& candidate);

// Images of the batch that Winograd's transforms take at a time, so that they stay within `limit` bytes and
// the candidate's, or are those of one image; equal parts, nearly. The whole batch where nothing needs a
// workspace.
int SliceImages(const Convolution& layer, const Candidate& candidate, size_t limit = kWorkspaceBytes);
// Of Convolution::workspace.
size_t WorkspaceBytes(const Convolution& layer, const Candidate& candidate);

// Where `layer.stem` is set, with the first layer ahead of it.
cudaError_t LaunchConvolution(const Convolution& layer, Precision precision, const Candidate& candidate,
                              cudaStream_t stream);

}  // namespace repvgg::cuda
