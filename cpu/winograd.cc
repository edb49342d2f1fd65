#include "cpu/winograd.h"

#include <algorithm>

#include "engine/winograd_weights.h"

namespace repvgg::cpu {
namespace {

// Padding between positions. Without it they would often be a multiple of 4 KB apart and compete for the same
// few lines of the L1 cache.
constexpr int kPositionPadding = 16;
static_assert(kPositionPadding >= kReadAhead);

constexpr int kCacheLine = 16;  // In floats.

// One element each of kKernels kernels, which are transformed together.
constexpr int kKernels = 8;
typedef double Kernels __attribute__((vector_size(kKernels * sizeof(double))));

// The tiles of a set that have a given position, a contiguous range.
struct TileRange {
  int first;
  int count;
};

TileRange TilesOf(const WinogradMaps& maps, const WinogradTiles& tiles, WinogradTile tile, int position) {
  const auto of_narrow = [](int i) { return i <= 2 || i == kLargestWinogradSide - 1; };
  const bool narrow_row = of_narrow(position / (tile.columns + 2));
  const bool narrow_column = of_narrow(position % (tile.columns + 2));
  const int right = maps.images * maps.whole_rows * maps.narrow_columns;
  const int whole = maps.images * maps.whole_rows * maps.whole_columns;
  const int bottom = maps.images * maps.narrow_rows * maps.whole_columns;
  const int begin = narrow_column ? 0 : right;
  const int end = narrow_row && narrow_column ? maps.tiles() : right + whole + (narrow_row ? bottom : 0);
  const int first = std::max(begin - tiles.first, 0);
  return {first, std::max(std::min(end - tiles.first, tiles.count) - first, 0)};
}

// Distances in the products of a set: from tile to tile, and from position to position.
ptrdiff_t ProductTile(const WinogradConvolution& convolution) {
  return static_cast<ptrdiff_t>(convolution.blocks) * convolution.block_width;
}
ptrdiff_t ProductPosition(const WinogradConvolution& convolution, int tiles) {
  return tiles * ProductTile(convolution) + kPositionPadding;
}

// At batch 1 a Zen 4 is 9 % faster on A0 and A2 if it does, a Xeon was 6 % slower on A2 (docs/cpu.md).
bool FetchesAllWeights() {
#if defined(__x86_64__)
  static const bool amd = __builtin_cpu_is("amd") != 0;
  return amd;
#else
  return false;
#endif
}

}  // namespace

WinogradSide CutIntoTiles(int tile, int pixels) {
  const int left = pixels % tile;
  const bool narrow = tile == 4 && (left == 1 || left == 2);
  return {pixels / tile + (left > 0 && !narrow), narrow};
}

PackedWinograd PackWinograd(WinogradTile tile, const float* weight, const float* bias, int in_channels,
                            int out_channels, int groups, int block_width) {
  PackedWinograd packed;
  static_cast<ConvolutionShape&>(packed) =
      MakeConvolutionShape(in_channels, out_channels, 1, groups, block_width);
  packed.tile = tile;
  const int group_in = packed.group_in;
  const int group_out = packed.group_out;
  const int blocks = packed.blocks;
  const int positions = tile.positions();
  const size_t block_size = static_cast<size_t>(group_in) * block_width;
  const size_t position_size = blocks * block_size;
  const size_t weight_size = groups * positions * position_size;
  packed.storage = HugeArray<float>(weight_size + static_cast<size_t>(groups) * blocks * block_width);
  float* packed_bias = packed.storage.data() + weight_size;
  // Lane by lane inside: what is written for a position then lies together.
  for (int group_block = 0; group_block < groups * blocks; ++group_block) {
    const int group = group_block / blocks;
    const int block = group_block % blocks;
    const int channel = group * group_out + block * block_width;
    const int lanes = std::min(block_width, group_out - block * block_width);
    if (bias != nullptr)
      std::copy_n(bias + channel, lanes, packed_bias + static_cast<size_t>(group_block) * block_width);
    float* of_block = packed.storage.data() + group * positions * position_size + block * block_size;
    for (int c = 0; c < group_in; ++c) {
      for (int lane = 0; lane < lanes; lane += kKernels) {
        const int together = std::min(kKernels, lanes - lane);
        const float* from = weight + (static_cast<size_t>(channel + lane) * group_in + c) * 9;
        Kernels w[9] = {};
        for (int i = 0; i < together; ++i) {
          for (int tap = 0; tap < 9; ++tap) w[tap][i] = from[static_cast<size_t>(i) * group_in * 9 + tap];
        }
        Kernels u[kLargestWinogradSide][kLargestWinogradSide];
        TransformKernel(tile.rows, tile.columns, w, u);
        float* to = of_block + static_cast<size_t>(c) * block_width + lane;
        for (int p = 0; p < positions; ++p, to += position_size) {
          const Kernels& values = u[p / (tile.columns + 2)][p % (tile.columns + 2)];
          for (int i = 0; i < together; ++i) to[i] = static_cast<float>(values[i]);
        }
      }
    }
  }
  packed.weight = packed.storage.data();
  packed.bias = packed_bias;
  return packed;
}

ptrdiff_t WinogradInputPosition(const WinogradConvolution& convolution, int tiles) {
  return static_cast<ptrdiff_t>(tiles) * convolution.group_in + kPositionPadding;
}

size_t WinogradInputSize(const WinogradConvolution& convolution, int tiles) {
  return convolution.tile.positions() * WinogradInputPosition(convolution, tiles);
}

size_t WinogradProductSize(const WinogradConvolution& convolution, int tiles) {
  return convolution.tile.positions() * ProductPosition(convolution, tiles);
}

size_t WinogradWork(const WinogradConvolution& convolution, const WinogradMaps& maps,
                    const WinogradTiles& tiles) {
  size_t work = 0;
  for (int p = 0; p < convolution.tile.positions(); ++p) {
    work += static_cast<size_t>(TilesOf(maps, tiles, convolution.tile, p).count) * convolution.blocks;
  }
  return work;
}

// Blocks in the inner loop: one position's tiles stay in cache for all blocks. Each block prefetches a share
// of the next position's.
void MultiplyWinograd(const BlockKernels& kernels, const WinogradConvolution& convolution,
                      const WinogradMaps& maps, const WinogradTiles& tiles, int group, size_t begin,
                      size_t end, float* product) {
  const int depth = convolution.group_in;
  const int blocks = convolution.blocks;
  const int width = convolution.block_width;
  const int positions = convolution.tile.positions();
  const size_t block_size = static_cast<size_t>(depth) * width;
  const ptrdiff_t product_tile = ProductTile(convolution);
  const ptrdiff_t product_position = ProductPosition(convolution, tiles.count);
  const ptrdiff_t v_lines = tiles.v_position / kCacheLine;
  const ptrdiff_t product_lines = product_position / kCacheLine;
  const bool all_weights = FetchesAllWeights();
  size_t work = 0;
  for (int p = 0; p < positions; ++p) {
    const auto [first, count] = TilesOf(maps, tiles, convolution.tile, p);
    const float* v = tiles.v + p * tiles.v_position;
    const float* u = convolution.weight + (static_cast<size_t>(group) * positions + p) * blocks * block_size;
    float* to = product + p * product_position;
    for (int block = 0; block < blocks && count > 0; ++block, work += count) {
      if (work < begin || work >= end) continue;
      const WinogradNext next = {v + tiles.v_position + v_lines * block / blocks * kCacheLine,
                                 v_lines / blocks,
                                 to + product_position + product_lines * block / blocks * kCacheLine,
                                 product_lines / blocks, all_weights};
      kernels.winograd_multiply(v + static_cast<ptrdiff_t>(first) * depth, depth, depth, count,
                                u + block * block_size, to + first * product_tile + block * width,
                                product_tile, next);
    }
  }
}

void OutputWinograd(const WinogradTransforms& transforms, const WinogradConvolution& convolution,
                    const WinogradMaps& maps, const WinogradTiles& tiles, int group, int first, int last,
                    bool relu, const float* product) {
  const ptrdiff_t tile = ProductTile(convolution);
  transforms.output(product + first * tile, ProductPosition(convolution, tiles.count), tile, maps,
                    convolution.out_channels, tiles.first + first, last - first,
                    group * convolution.group_out, convolution.group_out, convolution.bias + group * tile,
                    relu);
}

}  // namespace repvgg::cpu
