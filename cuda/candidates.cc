#include "cuda/candidates.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <sstream>

#include "cuda/direct_fp32.h"
#include "cuda/direct_mma.h"
#include "cuda/direct_sm90a.h"
#include "cuda/direct_wmma.h"
#include "cuda/formats.h"
#include "cuda/stem_fused.h"
#include "cuda/winograd_chain.h"
#include "cuda/winograd_f2.h"
#include "cuda/winograd_f4.h"

namespace repvgg::cuda {
namespace {

// Output pixels and channels of one block.
struct BlockSize {
  int pixels, channels;
};

BlockSize SizeOf(const Candidate& candidate, Precision precision) {
  const auto size = [](const TileShape& tile, int pixels_of_row = 1) {
    return BlockSize{tile.rows * pixels_of_row, tile.channels};
  };
  const int tile = candidate.tile;
  if (candidate.algorithm == Algorithm::kWinogradF2) return size(WinogradF2TileTable(precision)[tile], 4);
  if (candidate.algorithm == Algorithm::kWinogradF4) return size(WinogradF4TileTable()[tile], 16);
  if (candidate.algorithm == Algorithm::kDirectWmma) return size(DirectWmmaTileTable()[tile]);
  if (candidate.algorithm == Algorithm::kDirectSm90a) {
    const GemmSm90aTile& sm90a = ConvolutionSm90aTiles(precision)[tile];
    return {sm90a.rows, sm90a.columns};
  }
  return size(precision == Precision::kFp32 ? DirectFp32TileTable()[tile]
                                            : DirectMmaTileTable(precision)[tile]);
}

std::string Name(const char* algorithm, int rows, int channels, bool aligned = true) {
  return std::string(algorithm) + ' ' + std::to_string(rows) + 'x' + std::to_string(channels) +
         (aligned ? "" : " unaligned");
}

// Shared memory that one block can have, by the CUDA C++ Programming Guide, "Compute Capabilities".
int SharedLimit(int architecture) {
  if (architecture == 75) return 64 << 10;
  if (architecture < 80) return 96 << 10;
  if (architecture == 80 || architecture == 87) return 163 << 10;
  return architecture < 90 || architecture >= 120 ? 99 << 10 : 227 << 10;
}

void AddTiles(Algorithm algorithm, const char* name, std::span<const TileShape> tiles, bool aligned,
              int architecture, std::vector<Candidate>& out) {
  for (size_t i = 0; i < tiles.size(); ++i) {
    // The tile for odd channels can do any layer and is never the fastest where another can.
    if (tiles[i].aligned != aligned || tiles[i].shared_bytes > SharedLimit(architecture)) continue;
    out.push_back({algorithm, static_cast<int>(i), Name(name, tiles[i].rows, tiles[i].channels, aligned)});
  }
}

std::vector<unsigned char> ToBytes(const std::vector<float>& values) {
  std::vector<unsigned char> bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// Winograd's F(m x m).
int TileSide(const Candidate& candidate) {
  return candidate.algorithm == Algorithm::kWinogradF2   ? 2
         : candidate.algorithm == Algorithm::kWinogradF4 ? 4
                                                         : 1;
}

// Blocks between which a split reduction is tried: an eighth of the multiprocessors of an H100 or H200, and
// all of them.
constexpr int kFewBlocks = 16, kManyBlocks = 132;

// With a workspace of this size, v and m of a chain stay in an L2 of 40 MB or more, half of which is near,
// until the next kernel has read them.
constexpr size_t kSmallWorkspaceBytes = size_t{16} << 20;
bool HasLargeL2(int architecture) { return architecture == 80 || architecture >= 89; }

// Whether each block of a cluster has a tile of its own.
bool FillsClusters(const GemmSm90aTile& tile, int rows, int columns) {
  return tile.multicast == Operand::kNone ||
         (tile.multicast == Operand::kIn ? DivideUp(columns, tile.columns) % 2 == 0 : rows > tile.rows);
}

// Tiles whose columns divide the channels, or all where none does.
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

// F(m x m)'s m.
int ChainSide(Algorithm algorithm) { return algorithm == Algorithm::kChainF2 ? 2 : 4; }

// Of a chain.
size_t ImageWorkspace(const Convolution& layer, const Candidate& candidate) {
  Convolution image = layer;
  image.batch = 1;
  return ChainWorkspace(image, ChainSide(candidate.algorithm));
}

// Of the batch, in `limit` bytes; one at least.
int MostImages(const Convolution& layer, const Candidate& candidate, size_t limit) {
  return static_cast<int>(std::clamp<size_t>(limit / ImageWorkspace(layer, candidate), 1, layer.batch));
}

Convolution OfImages(const Convolution& layer, Precision precision, int first, int batch) {
  const size_t size = ElementSize(precision);
  Convolution slice = layer;
  slice.batch = batch;
  slice.in = static_cast<const unsigned char*>(layer.in) +
             size * first * layer.height * layer.width * layer.in_channels;
  slice.out = static_cast<unsigned char*>(layer.out) +
              size * first * layer.out_height() * layer.out_width() * layer.out_channels;
  return slice;
}

// Every tile: of one chain, layers differ in nothing else. Each for the largest slices of the batch, and for
// such as may stay in L2.
void AddChain(const Convolution& layer, Precision precision, int architecture, Algorithm algorithm,
              std::vector<Candidate>& out) {
  if (!ChainFits(layer, precision, ChainSide(algorithm))) return;
  const std::vector<ChainTile> tiles = ChainTiles(precision, architecture);
  for (size_t i = 0; i < tiles.size(); ++i) {
    const GemmSm90aTile* const sm90a = tiles[i].sm90a;
    const std::string name = std::string(algorithm == Algorithm::kChainF2 ? "f2 chain" : "f4 chain") +
                             (sm90a == nullptr ? "" : ' ' + Sm90aName(*sm90a));
    if (tiles[i].shared_bytes > SharedLimit(architecture)) continue;
    const int rows = layer.pixels() / (ChainSide(algorithm) * ChainSide(algorithm));
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
  // Not without a measurement.
  const bool multicast = candidate.algorithm == Algorithm::kDirectSm90a &&
                         ConvolutionSm90aTiles(precision)[candidate.tile].multicast != Operand::kNone;
  if (IsChain(candidate.algorithm) || candidate.parts.count > 1 || multicast) {
    return std::numeric_limits<double>::infinity();
  }
  const BlockSize tile = SizeOf(candidate, precision);
  const int side = TileSide(candidate);
  const int pixels =
      layer.batch * DivideUp(layer.out_height(), side) * DivideUp(layer.out_width(), side) * side * side;
  const int blocks =
      DivideUp(pixels, tile.pixels) * DivideUp(layer.group_out(), tile.channels) * layer.groups;
  // What a block takes: its products, and its loads, which count for more the faster products are.
  const double load_weight = precision == Precision::kFp32 ? 8 : 48;
  const double block_time =
      static_cast<double>(tile.pixels) * tile.channels + load_weight * (tile.pixels + tile.channels);
  // Hopper's own instructions should have half again the rate of the others.
  if (candidate.algorithm == Algorithm::kDirectSm90a) {
    return DivideUp(blocks, multiprocessors) * block_time / 1.5;
  }
  // F2 needs 2.25 times fewer products, and transforms; with tensor cores those take longer than they save
  // until a measurement says otherwise. So do F4's, by way of memory.
  const double algorithm_time = side == 1                                    ? 1.0
                                : side == 2 && precision == Precision::kFp32 ? 1.25 / 2.25
                                                                             : 1.5;
  return DivideUp(blocks, multiprocessors) * block_time * algorithm_time;
}

// Leaves out what the environment's REPVGG_EXCLUDE lists by the beginnings of names, between commas: where a
// kernel does not work on somebody's GPU. Not the last one.
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
                                      const std::string& algorithm, WinogradClass winograd) {
  const int chunk = 16 / ElementSize(precision);
  const bool aligned = layer.group_in() % chunk == 0 && layer.group_out() % chunk == 0;
  std::vector<Candidate> direct, f2, f4;
  // Before the others, so that it is taken where an estimate finds them equal: on Turing, which has both but
  // no cp.async, only this one loads ahead.
  if (precision == Precision::kFp16 && architecture < 80) {
    AddTiles(Algorithm::kDirectWmma, "wmma", DirectWmmaTileTable(), aligned, architecture, direct);
  }
  if (precision == Precision::kFp32) {
    AddTiles(Algorithm::kDirect, "direct", DirectFp32TileTable(), aligned, architecture, direct);
  } else if (architecture >= 75 && precision != Precision::kFp8) {
    AddTiles(Algorithm::kDirect, "direct", DirectMmaTileTable(precision), aligned, architecture, direct);
  }
  if (architecture == 90 && HasSm90aKernels() && DirectSm90aFits(layer, precision)) {
    AddDirectSm90a(layer, precision, direct);
  }
  const bool halves = precision == Precision::kFp16 || precision == Precision::kBf16;
  const bool has_f2 = precision == Precision::kFp32 || (halves && architecture >= 80);
  if (has_f2 && WinogradF2Fits(layer, precision)) {
    AddTiles(Algorithm::kWinogradF2, "f2", WinogradF2TileTable(precision), true, architecture, f2);
  }
  if (precision == Precision::kFp32 && WinogradF4Fits(layer)) {
    AddTiles(Algorithm::kWinogradF4, "f4", WinogradF4TileTable(), true, architecture, f4);
  }
  AddChain(layer, precision, architecture, Algorithm::kChainF2, f2);
  AddChain(layer, precision, architecture, Algorithm::kChainF4, f4);
  if (algorithm == "f2" && !f2.empty()) return WithoutExcluded(f2);
  if (algorithm == "f4" && !f4.empty()) return WithoutExcluded(f4);
  const bool off = algorithm.empty() && winograd == WinogradClass::kOff && !direct.empty();
  if (algorithm == "direct" || off) return WithoutExcluded(direct);
  direct.insert(direct.end(), f2.begin(), f2.end());
  const bool f4_allowed =
      winograd == WinogradClass::kF4 || (winograd == WinogradClass::kAuto && precision == Precision::kFp32);
  if (f4_allowed) direct.insert(direct.end(), f4.begin(), f4.end());
  return WithoutExcluded(direct);
}

std::vector<Candidate> ListFirstTwo(const Convolution& layer, const Candidate& second, Precision precision,
                                    int architecture, const std::string& algorithm) {
  std::vector<Candidate> candidates = {second};
  candidates[0].name = "stem, " + second.name;
  const bool wanted = algorithm.empty() || algorithm == "fused";
  if (!wanted || architecture < 80 || !StemFusedFits(*layer.stem, layer, precision)) return candidates;
  candidates.push_back(
      {Algorithm::kStemFused, 0, Name("fused", kStemFusedPixels, StemFusedChannels(*layer.stem, layer))});
  candidates = WithoutExcluded(candidates);
  if (!algorithm.empty() && candidates.size() > 1) candidates.erase(candidates.begin());
  return candidates;
}

const Candidate& EstimateBest(const std::vector<Candidate>& candidates, const Convolution& layer,
                              Precision precision, int multiprocessors) {
  return *std::min_element(candidates.begin(), candidates.end(), [&](const auto& a, const auto& b) {
    return EstimateTime(a, layer, precision, multiprocessors) <
           EstimateTime(b, layer, precision, multiprocessors);
  });
}

std::vector<unsigned char> PackConvolution(const Convolution& layer, const float* weight, Precision precision,
                                           Algorithm algorithm) {
  if (algorithm == Algorithm::kWinogradF2) return PackWinogradF2(layer, weight, precision);
  if (algorithm == Algorithm::kWinogradF4) return ToBytes(PackWinogradF4(layer, weight));
  if (IsChain(algorithm)) return PackChain(layer, weight, precision, ChainSide(algorithm));
  if (precision == Precision::kFp32) return ToBytes(PackDirectFp32(layer, weight));
  const size_t kernels = static_cast<size_t>(layer.out_channels) * layer.group_in();
  const std::vector<float> rounded = RoundKernels(weight, kernels, precision);
  return algorithm == Algorithm::kDirectSm90a ? PackDirectSm90a(layer, rounded.data(), precision)
                                              : PackDirectMma(layer, rounded.data(), precision);
}

bool PoolsItself(const Candidate& candidate) {
  return candidate.algorithm == Algorithm::kDirectSm90a && candidate.parts.count == 1;
}

int SliceImages(const Convolution& layer, const Candidate& candidate, size_t limit) {
  if (!IsChain(candidate.algorithm)) return layer.batch;
  return DivideUp(layer.batch, DivideUp(layer.batch, MostImages(layer, candidate,
                                                                std::min(limit, candidate.workspace_bytes))));
}

size_t WorkspaceBytes(const Convolution& layer, const Candidate& candidate) {
  if (IsChain(candidate.algorithm)) {
    return MostImages(layer, candidate, candidate.workspace_bytes) * ImageWorkspace(layer, candidate);
  }
  if (candidate.algorithm == Algorithm::kDirectSm90a) return DirectSm90aWorkspace(layer, candidate.parts);
  return candidate.algorithm == Algorithm::kWinogradF4 ? WinogradF4Workspace(layer) : 0;
}

cudaError_t LaunchConvolution(const Convolution& layer, Precision precision, const Candidate& candidate,
                              cudaStream_t stream) {
  if (candidate.algorithm == Algorithm::kStemFused) {
    return LaunchStemFused(*layer.stem, layer, precision, stream);
  }
  if (layer.stem != nullptr) {
    const cudaError_t error = LaunchStem(*layer.stem, precision, stream);
    if (error != cudaSuccess) return error;
  }
  if (candidate.algorithm == Algorithm::kWinogradF2) {
    return LaunchWinogradF2(layer, precision, candidate.tile, stream);
  }
  if (candidate.algorithm == Algorithm::kWinogradF4) return LaunchWinogradF4(layer, candidate.tile, stream);
  if (candidate.algorithm == Algorithm::kDirectWmma) return LaunchDirectWmma(layer, candidate.tile, stream);
  if (candidate.algorithm == Algorithm::kDirectSm90a) {
    return LaunchDirectSm90a(layer, precision, candidate.tile, candidate.parts, stream);
  }
  if (IsChain(candidate.algorithm)) {
    const int most = SliceImages(layer, candidate);
    cudaError_t error = cudaSuccess;
    for (int first = 0; first < layer.batch && error == cudaSuccess; first += most) {
      const Convolution slice = OfImages(layer, precision, first, std::min(most, layer.batch - first));
      error = LaunchChain(slice, precision, ChainSide(candidate.algorithm), candidate.tile, stream);
    }
    return error;
  }
  if (precision == Precision::kFp32) return LaunchDirectFp32(layer, candidate.tile, stream);
  return LaunchDirectMma(layer, precision, candidate.tile, stream);
}

WinogradClass ToWinogradClass(const std::string& name) {
  return name == "off"  ? WinogradClass::kOff
         : name == "f2" ? WinogradClass::kF2
         : name == "f4" ? WinogradClass::kF4
                        : WinogradClass::kAuto;
}

const char* PrecisionName(Precision precision) {
  constexpr const char* kNames[] = {"fp32", "tf32", "fp16", "bf16", "fp8"};
  return kNames[static_cast<int>(precision)];
}

std::optional<Precision> ToPrecision(const std::string& name) {
  for (const Precision precision :
       {Precision::kFp32, Precision::kTf32, Precision::kFp16, Precision::kBf16, Precision::kFp8}) {
    if (name == PrecisionName(precision)) return precision;
  }
  return std::nullopt;
}

}  // namespace repvgg::cuda
