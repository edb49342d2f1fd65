// All implementations of a convolution layer (algorithm and tile) behind one set of functions.
#pragma once

#include <string>
#include <vector>

#include "cuda/convolution_tile.h"
#include "engine/algorithms.h"

namespace repvgg::cuda {

// The families of kernels.
enum class Algorithm {
  kDirect,
  kDirectWmma,
  kDirectSm90a,
  kWinogradF2,
  kWinogradF4,
  kChainF2,
  kChainF4,
  kStemFused,  // Fused with the first layer.
};

// Non-fused Winograd, whose consecutive layers can skip the map between them.
constexpr bool IsChain(Algorithm algorithm) {
  return algorithm == Algorithm::kChainF2 || algorithm == Algorithm::kChainF4;
}

// m of Winograd's F(m x m); 1 for the other algorithms.
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

// As the options of a network name it.
constexpr ConvolutionAlgorithm AlgorithmOf(Algorithm family) {
  switch (family) {
    case Algorithm::kDirect:
    case Algorithm::kDirectWmma:
    case Algorithm::kDirectSm90a:
      return ConvolutionAlgorithm::kDirect;
    case Algorithm::kWinogradF2:
    case Algorithm::kChainF2:
      return ConvolutionAlgorithm::kF2;
    case Algorithm::kWinogradF4:
    case Algorithm::kChainF4:
      return ConvolutionAlgorithm::kF4;
    case Algorithm::kStemFused:
      break;
  }
  return ConvolutionAlgorithm::kFused;
}

struct Candidate {
  Algorithm algorithm = Algorithm::kDirect;
  int tile = 0;  // Index into the algorithm's tiles.
  // "direct 128x64", "wmma 64x64", "sm90a 256x128", "sm90a ping-pong 128x96", "sm90a split 3 128x96", "sm90a
  // cluster 4 ping-pong 64x64", "sm90a multicast weights 256x128", "f2 32x64", "f2 chain 128x64 by 16 MB",
  // "fused 64x48": a block's pixels (for Winograd its tiles) by channels.
  std::string name;
  Parts parts = {};                          // kDirectSm90a only.
  size_t workspace_bytes = kWorkspaceBytes;  // Limit for slices of the batch.
};

// The tiles of kDirect, kDirectWmma, kWinogradF2 or kWinogradF4.
std::span<const ConvolutionTile> TilesOf(Algorithm algorithm, Precision precision);

// `weight` is [out_channels][in_channels / groups][3][3]. All tiles of an algorithm share one layout. For
// direct convolution, weights are rounded such that the sum of each kernel is preserved (RoundKernels in
// cuda/formats.h).
std::vector<unsigned char> PackConvolution(const Convolution& layer, const float* weight, Precision precision,
                                           Algorithm algorithm);

// Whether the candidate supports Convolution::pooled.
bool PoolsItself(const Candidate& candidate);

// How many images of the batch a Winograd transform takes at a time: as many as fit both `limit` and the
// candidate's workspace_bytes, at least one, in nearly equal slices. The whole batch for algorithms without
// such a workspace.
int SliceImages(const Convolution& layer, const Candidate& candidate, size_t limit = kWorkspaceBytes);
// Bytes that Convolution::workspace needs.
size_t WorkspaceBytes(const Convolution& layer, const Candidate& candidate);

// Launches the layer, preceded by or fused with the first layer if `layer.stem` is set.
cudaError_t LaunchConvolution(const Convolution& layer, Precision precision, const Candidate& candidate,
                              cudaStream_t stream);

}  // namespace repvgg::cuda
