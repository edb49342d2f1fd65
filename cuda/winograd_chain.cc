#include "cuda/winograd_chain.h"

#include <algorithm>
#include <climits>
#include <cstring>

#include "cuda/formats.h"
#include "engine/winograd_weights.h"

namespace repvgg::cuda {

extern const std::span<const GemmSm90aTile> kBatchedSm90aFp16, kBatchedSm90aBf16;
extern const std::span<const ChainTile> kChainMmaFp16, kChainMmaBf16;

namespace {

constexpr int kMostSharedBytes = 99 << 10;  // The limit per block of sm_86 and sm_89.
constexpr int kBoxChannels = BoxChannels(Precision::kFp16);

int Positions(int tile_side) { return (tile_side + 2) * (tile_side + 2); }

int Tiles(const Convolution& layer, int tile_side) {
  return layer.batch * DivideUp(layer.height, tile_side) * DivideUp(layer.width, tile_side);
}

// Bytes of the larger of v and m.
size_t HalfWorkspace(const Convolution& layer, int tile_side) {
  const int channels = std::max(layer.in_channels, layer.out_channels);
  return size_t{2} * Positions(tile_side) * Tiles(layer, tile_side) * channels;
}

std::span<const ChainTile> MmaTiles(Precision precision) {
  return precision == Precision::kFp16 ? kChainMmaFp16 : kChainMmaBf16;
}

std::span<const GemmSm90aTile> Sm90aTiles(Precision precision) {
  return precision == Precision::kFp16 ? kBatchedSm90aFp16 : kBatchedSm90aBf16;
}

cudaError_t LaunchProductsSm90a(const ChainProducts& products, Precision precision, int tile,
                                cudaStream_t stream) {
  const GemmSm90aTile& shape = Sm90aTiles(precision)[tile];
  const uint64_t in = products.group_in, out = products.group_out, groups = products.groups;
  const uint64_t tiles = products.tiles, positions = products.positions;
  const uint64_t blocks = DivideUp(products.group_in, kBoxChannels), row = kBoxChannels * 2;
  const TiledArray v = {products.v,
                        {in, groups, tiles, positions},
                        {2 * in, 2 * in * groups, 2 * in * groups * tiles},
                        {kBoxChannels, 1, static_cast<uint32_t>(shape.in_rows), 1}};
  const TiledArray weight = {products.weight,
                             {kBoxChannels, out, blocks, positions * groups},
                             {row, row * out, row * out * blocks},
                             {kBoxChannels, static_cast<uint32_t>(shape.weight_columns), 1, 1}};
  const TiledArray m = {products.m,
                        {out, groups, tiles, positions},
                        {2 * out, 2 * out * groups, 2 * out * groups * tiles},
                        {static_cast<uint32_t>(shape.store_columns), 1, 64, 1}};
  GemmSm90a gemm;
  if (const auto error = EncodeTiled(v, precision, &gemm.in[0]); error != cudaSuccess) return error;
  if (const auto error = EncodeTiled(weight, precision, &gemm.weight); error != cudaSuccess) return error;
  if (const auto error = EncodeTiled(m, precision, &gemm.out); error != cudaSuccess) return error;
  gemm.rows = products.tiles;
  gemm.columns = products.group_out;
  gemm.batches = products.positions * products.groups;
  gemm.groups = products.groups;
  gemm.depth = products.group_in;
  return shape.launch(gemm, stream);
}

}  // namespace

std::vector<ChainTile> ChainTiles(Precision precision, int architecture) {
  std::vector<ChainTile> tiles;
  const auto mma = MmaTiles(precision);
  if (architecture >= 80) tiles.assign(mma.begin(), mma.end());
  if (architecture != 90 || !HasSm90aKernels()) return tiles;
  const auto batched = Sm90aTiles(precision);
  for (const GemmSm90aTile& tile : batched) {
    tiles.push_back({tile.rows, tile.columns, tile.shared_bytes, &tile, nullptr});
  }
  return tiles;
}

bool ChainFits(const Convolution& layer, Precision precision, int tile_side) {
  return (precision == Precision::kFp16 || precision == Precision::kBf16) && layer.stride == 1 &&
         layer.group_in() % 8 == 0 && layer.group_out() % 8 == 0 &&
         size_t{128} * layer.height * layer.width <= kMostSharedBytes &&
         HalfWorkspace(layer, tile_side) / 2 < INT_MAX;
}

size_t ChainWorkspace(const Convolution& layer, int tile_side) { return 2 * HalfWorkspace(layer, tile_side); }

std::vector<unsigned char> PackChain(const Convolution& layer, const float* weight, Precision precision,
                                     int tile_side) {
  const int group_in = layer.group_in(), group_out = layer.group_out(), side = tile_side + 2;
  const size_t blocks = DivideUp(group_in, kBoxChannels);
  std::vector<unsigned char> packed(size_t{2} * Positions(tile_side) * layer.groups * blocks * group_out *
                                    kBoxChannels);
  for (int k = 0; k < layer.out_channels; ++k) {
    for (int c = 0; c < group_in; ++c) {
      double u[kLargestWinogradSide][kLargestWinogradSide];
      TransformKernel(tile_side, tile_side, weight + (static_cast<size_t>(k) * group_in + c) * 9, u);
      for (int p = 0; p < Positions(tile_side); ++p) {
        const uint32_t bits =
            FormatBits(static_cast<float>(u[p / side][p % side] / kChainInputScale), precision);
        const size_t block =
            (static_cast<size_t>(p) * layer.groups + k / group_out) * blocks + c / kBoxChannels;
        const size_t at = (block * group_out + k % group_out) * kBoxChannels + c % kBoxChannels;
        std::memcpy(&packed[at * 2], &bits, 2);
      }
    }
  }
  return packed;
}

cudaError_t LaunchChain(const Convolution& layer, Precision precision, int tile_side, int tile,
                        cudaStream_t stream) {
  if (!layer.fits() || !ChainFits(layer, precision, tile_side)) return cudaErrorInvalidValue;
  void* const v = layer.workspace;
  void* const m = static_cast<unsigned char*>(layer.workspace) + HalfWorkspace(layer, tile_side);
  if (!layer.transformed_in) {
    const auto error = LaunchChainTransform(layer, precision, tile_side, ChainStep::kBegin, m, v, stream);
    if (error != cudaSuccess) return error;
  }
  const ChainProducts products = {v,
                                  layer.weight,
                                  m,
                                  Tiles(layer, tile_side),
                                  Positions(tile_side),
                                  layer.groups,
                                  layer.group_in(),
                                  layer.group_out()};
  const auto mma = MmaTiles(precision);
  const int of_sm90a = tile - static_cast<int>(mma.size());
  const auto error = of_sm90a < 0 ? mma[tile].launch(products, stream)
                                  : LaunchProductsSm90a(products, precision, of_sm90a, stream);
  if (error != cudaSuccess) return error;
  const ChainStep end = layer.transformed_out ? ChainStep::kBetween : ChainStep::kEnd;
  return LaunchChainTransform(layer, precision, tile_side, end, m, v, stream);
}

}  // namespace repvgg::cuda
