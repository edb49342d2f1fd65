// The ways to compute one convolution layer: algorithm and tile, behind one set of functions.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cuda/convolution.h"
#include "cuda/runtime.h"

namespace repvgg::cuda {

// Of Convolution::workspace, unless one image needs more.
inline constexpr size_t kWorkspaceBytes = size_t{48} << 20;

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

struct Candidate {
  Algorithm algorithm = Algorithm::kDirect;
  int tile = 0;  // Index into the algorithm's table of tiles.
  // "direct 128x64", "wmma 64x64", "sm90a 256x128", "sm90a ping-pong 128x96", "sm90a split 3 128x96", "sm90a
  // cluster 4 ping-pong 64x64", "sm90a multicast weights 256x128", "f2 32x64", "f2 chain 128x64 by 16 MB",
  // "fused 64x48": pixels (of Winograd, tiles) by channels.
  std::string name;
  Parts parts = {};                          // kDirectSm90a.
  size_t workspace_bytes = kWorkspaceBytes;  // Chains: what their slices of the batch stay within.
};

// Which of Winograd's algorithms may be chosen, by their errors (docs/kernels.md): kAuto is all in fp32,
// F(2x2) only in 16-bit precisions.
enum class WinogradClass { kAuto, kOff, kF2, kF4 };
// "auto", "off", "f2", "f4"; kAuto for anything else.
WinogradClass ToWinogradClass(const std::string& name);

// Every candidate that can do the layer on an architecture (90 for 9.0) that has the precision. None only on
// Volta, in fp16 where the channels of a group are not multiples of 8.
// `algorithm` ("direct", "f2", "f4") leaves only that one's, as long as it has any, whatever `winograd` says.
std::vector<Candidate> ListCandidates(const Convolution& layer, Precision precision, int architecture,
                                      const std::string& algorithm,
                                      WinogradClass winograd = WinogradClass::kAuto);

// The ways to compute the first two layers: one after the other, the second (`layer`, whose `stem` is set) by
// `second`; and, where one kernel can do both, that. `algorithm` ("fused") leaves only the latter, as long as
// there is one; any other leaves it out.
std::vector<Candidate> ListFirstTwo(const Convolution& layer, const Candidate& second, Precision precision,
                                    int architecture, const std::string& algorithm);

// The candidate of least estimated time on a GPU of so many multiprocessors: whole waves of tiles, the values
// that a tile loads for each of its products, and no measurement.
const Candidate& EstimateBest(const std::vector<Candidate>& candidates, const Convolution& layer,
                              Precision precision, int multiprocessors);

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

const char* PrecisionName(Precision precision);
std::optional<Precision> ToPrecision(const std::string& name);

}  // namespace repvgg::cuda
