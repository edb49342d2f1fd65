#include "cuda/candidates.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <sstream>

#include "cuda/direct_sm90a.h"
#include "cuda/stem_fused.h"
#include "cuda/winograd_chain.h"
#include "cuda/winograd_f2.h"
#include "cuda/winograd_f4.h"

namespace repvgg::cuda {
namespace {

// Output pixels and channels per block.
struct BlockSize {
  int pixels, channels;
};

BlockSize SizeOf(const Candidate& candidate, Precision precision) {
  if (candidate.algorithm == Algorithm::kDirectSm90a) {
    const GemmSm90aTile& tile = ConvolutionSm90aTiles(precision)[candidate.tile];
    return {tile.rows, tile.columns};
  }
  const ConvolutionTile& tile = TilesOf(candidate.algorithm, precision)[candidate.tile];
  return {tile.rows * TileSide(candidate.algorithm) * TileSide(candidate.algorithm), tile.channels};
}

std::string Name(const char* algorithm, int rows, int channels, bool aligned = true) {
  return std::string(algorithm) + ' ' + std::to_string(rows) + 'x' + std::to_string(channels) +
         (aligned ? "" : " unaligned");
}

// Shared memory per block, from the CUDA C++ Programming Guide, "Compute Capabilities".
int SharedLimit(int architecture) {
  if (architecture == 75) return 64 << 10;
  if (architecture < 80) return 96 << 10;
  if (architecture == 80 || architecture == 87) return 163 << 10;
  return architecture < 90 || architecture >= 120 ? 99 << 10 : 227 << 10;
}

void AddTiles(Algorithm algorithm, const char* name, Precision precision, bool aligned, int architecture,
              std::vector<Candidate>& out) {
  const auto tiles = TilesOf(algorithm, precision);
  for (size_t i = 0; i < tiles.size(); ++i) {
    // The element-wise tile supports any layer, but is never the fastest where another one fits.
    if (tiles[i].aligned != aligned || tiles[i].shared_bytes > SharedLimit(architecture)) continue;
    out.push_back({algorithm, static_cast<int>(i), Name(name, tiles[i].rows, tiles[i].channels, aligned)});
  }
}

// Split reductions are tried if they give this many blocks: from an eighth of the multiprocessors of an H100
// or H200 to all of them.
constexpr int kFewBlocks = 16, kManyBlocks = 132;

// With a workspace of this size, v and m of a chain stay in an L2 of 40 MB or more (of which half is near)
// until the next kernel has read them.
constexpr size_t kSmallWorkspaceBytes = size_t{16} << 20;
bool HasLargeL2(int architecture) { return architecture == 80 || architecture >= 89; }

// Whether the layer has work for both blocks of a cluster: of every cluster, or, with multicast weights, of
// all but perhaps the last.
bool FillsClusters(const GemmSm90aTile& tile, int rows, int columns) {
  return tile.multicast == Operand::kNone ||
         (tile.multicast == Operand::kIn ? DivideUp(columns, tile.columns) % 2 == 0 : rows > tile.rows);
}

// Adds the tiles whose columns divide the channels, or all if none does.
void AddDirectSm90a(const Convolution& layer, Precision precision, std::vector<Candidate>& out) {
  const auto tiles = ConvolutionSm90aTiles(precision);
  const auto divides = [&](const GemmSm90aTile& tile) { return layer.group_out() % tile.columns == 0; };
  const bool exact = std::any_of(tiles.begin(), tiles.end(), divides);
  for (size_t i = 0; i < tiles.size(); ++i) {
    if (exact && !divides(tiles[i])) continue;
    if (!FillsClusters(tiles[i], layer.pixels(), layer.group_out())) continue;
    const int blocks = DivideUp(layer.pixels(), tiles[i].rows) *
                       DivideUp(layer.group_out(), tiles[i].columns) * layer.groups;
    const auto add = [&](Parts parts) {
      const std::string split = (parts.in_cluster ? " cluster " : " split ") + std::to_string(parts.count);
      const std::string name = Sm90aName(tiles[i], parts.count == 1 ? "" : split);
      out.push_back({Algorithm::kDirectSm90a, static_cast<int>(i),
                     Name(name.c_str(), tiles[i].rows, tiles[i].columns), parts});
    };
    add({});
    const bool can_split = precision != Precision::kFp8 && tiles[i].multicast == Operand::kNone;
    for (const int count : {2, 3, 4, 6, 8, 9}) {
      if (!can_split || blocks * count < kFewBlocks || blocks * count > kManyBlocks) continue;
      if (count != kMostBlocksOfCluster) add({count, false});
      if (count <= kMostBlocksOfCluster && tiles[i].adds_parts) add({count, true});
    }
  }
}

// Adds every tile, for the largest slices of the batch and for slices that may stay in L2.
void AddChain(const Convolution& layer, Precision precision, int architecture, Algorithm algorithm,
              std::vector<Candidate>& out) {
  if (!ChainFits(layer, precision, TileSide(algorithm))) return;
  const std::vector<ChainTile> tiles = ChainTiles(precision, architecture);
  for (size_t i = 0; i < tiles.size(); ++i) {
    const GemmSm90aTile* const sm90a = tiles[i].sm90a;
    const std::string name = std::string(algorithm == Algorithm::kChainF2 ? "f2 chain" : "f4 chain") +
                             (sm90a == nullptr ? "" : ' ' + Sm90aName(*sm90a));
    if (tiles[i].shared_bytes > SharedLimit(architecture)) continue;
    const int rows = layer.pixels() / (TileSide(algorithm) * TileSide(algorithm));
    if (sm90a != nullptr && !FillsClusters(*sm90a, rows, layer.group_out())) continue;
    Candidate candidate = {algorithm, static_cast<int>(i),
                           Name(name.c_str(), tiles[i].tiles, tiles[i].channels)};
    out.push_back(candidate);
    const int largest = SliceImages(layer, candidate);
    candidate.name += " by 16 MB";
    candidate.workspace_bytes = kSmallWorkspaceBytes;
    if (HasLargeL2(architecture) && SliceImages(layer, candidate) < largest) out.push_back(candidate);
  }
}

double EstimateTime(const Candidate& candidate, const Convolution& layer, Precision precision,
                    int multiprocessors) {
  // Never chosen without a measurement.
  const bool multicast = candidate.algorithm == Algorithm::kDirectSm90a &&
                         ConvolutionSm90aTiles(precision)[candidate.tile].multicast != Operand::kNone;
  if (IsChain(candidate.algorithm) || candidate.parts.count > 1 || multicast) {
    return std::numeric_limits<double>::infinity();
  }
  const BlockSize tile = SizeOf(candidate, precision);
  const int side = TileSide(candidate.algorithm);
  const int pixels =
      layer.batch * DivideUp(layer.out_height(), side) * DivideUp(layer.out_width(), side) * side * side;
  const int blocks =
      DivideUp(pixels, tile.pixels) * DivideUp(layer.group_out(), tile.channels) * layer.groups;
  // A block's time: its products and its loads, which weigh more the faster products are.
  const double load_weight = precision == Precision::kFp32 ? 8 : 48;
  const double block_time =
      static_cast<double>(tile.pixels) * tile.channels + load_weight * (tile.pixels + tile.channels);
  // wgmma should have 1.5 times the rate of mma.sync.
  if (candidate.algorithm == Algorithm::kDirectSm90a) {
    return DivideUp(blocks, multiprocessors) * block_time / 1.5;
  }
  // F(2x2) needs 2.25 times fewer products, but transforms; on tensor cores those are taken to cost more than
  // they save until a measurement says otherwise. The same holds for F(4x4), which goes through memory.
  const double algorithm_time = side == 1                                    ? 1.0
                                : side == 2 && precision == Precision::kFp32 ? 1.25 / 2.25
                                                                             : 1.5;
  return DivideUp(blocks, multiprocessors) * block_time * algorithm_time;
}

// Drops the candidates whose names start with an entry of the environment's REPVGG_EXCLUDE (comma-separated),
// for kernels that fail on somebody's GPU. Keeps all if none would be left.
std::vector<Candidate> WithoutExcluded(const std::vector<Candidate>& candidates) {
  const char* const excluded = std::getenv("REPVGG_EXCLUDE");
  std::vector<Candidate> left = candidates;
  std::istringstream list(excluded == nullptr ? "" : excluded);
  for (std::string name; std::getline(list, name, ',');) {
    if (!name.empty()) std::erase_if(left, [&](const Candidate& one) { return one.name.starts_with(name); });
  }
  return left.empty() ? candidates : left;
}

}  // namespace

std::vector<Candidate> ListCandidates(const Convolution& layer, Precision precision, int architecture,
                                      const AllowedAlgorithms& allowed) {
  const int chunk = 16 / ElementSize(precision);
  const bool aligned = layer.group_in() % chunk == 0 && layer.group_out() % chunk == 0;
  std::vector<Candidate> candidates;
  // First, so that ties of the estimate go to it: Turing has both but no cp.async, and only this one
  // prefetches there.
  if (precision == Precision::kFp16 && architecture < 80) {
    AddTiles(Algorithm::kDirectWmma, "wmma", precision, aligned, architecture, candidates);
  }
  if (precision == Precision::kFp32 || (architecture >= 75 && precision != Precision::kFp8)) {
    AddTiles(Algorithm::kDirect, "direct", precision, aligned, architecture, candidates);
  }
  if (architecture == 90 && HasSm90aKernels() && DirectSm90aFits(layer, precision)) {
    AddDirectSm90a(layer, precision, candidates);
  }
  const bool halves = precision == Precision::kFp16 || precision == Precision::kBf16;
  const bool has_f2 = precision == Precision::kFp32 || (halves && architecture >= 80);
  if (has_f2 && WinogradF2Fits(layer, precision)) {
    AddTiles(Algorithm::kWinogradF2, "f2", precision, true, architecture, candidates);
  }
  AddChain(layer, precision, architecture, Algorithm::kChainF2, candidates);
  if (precision == Precision::kFp32 && WinogradF4Fits(layer)) {
    AddTiles(Algorithm::kWinogradF4, "f4", precision, true, architecture, candidates);
  }
  AddChain(layer, precision, architecture, Algorithm::kChainF4, candidates);
  allowed.Restrict(candidates, [](const Candidate& candidate) { return AlgorithmOf(candidate.algorithm); });
  return WithoutExcluded(candidates);
}

std::vector<Candidate> ListFirstTwo(const Convolution& layer, const Candidate& second, Precision precision,
                                    int architecture, std::optional<ConvolutionAlgorithm> pinned) {
  std::vector<Candidate> candidates = {second};
  candidates[0].name = "stem, " + second.name;
  const bool wanted = !pinned || *pinned == ConvolutionAlgorithm::kFused;
  if (!wanted || architecture < 80 || !StemFusedFits(*layer.stem, layer, precision)) return candidates;
  candidates.push_back(
      {Algorithm::kStemFused, 0, Name("fused", kStemFusedPixels, StemFusedChannels(*layer.stem, layer))});
  candidates = WithoutExcluded(candidates);
  if (pinned && candidates.size() > 1) candidates.erase(candidates.begin());
  return candidates;
}

const Candidate& EstimateBest(const std::vector<Candidate>& candidates, const Convolution& layer,
                              Precision precision, int multiprocessors) {
  return *std::min_element(candidates.begin(), candidates.end(), [&](const auto& a, const auto& b) {
    return EstimateTime(a, layer, precision, multiprocessors) <
           EstimateTime(b, layer, precision, multiprocessors);
  });
}

}  // namespace repvgg::cuda
