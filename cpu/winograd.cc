#include "cpu/winograd.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace repvgg::cpu {
namespace {

// Positions are this much further apart than they need be. Without it they would often lie a multiple of 4 KB
// apart, where the first-level cache keeps only a few of them.
constexpr int kPositionPadding = 16;
static_assert(kPositionPadding >= kReadAhead);

constexpr int kCacheLine = 16;  // In floats.

constexpr int kLargestSide = 6;

// One number each of as many kernels, which are transformed together.
constexpr int kKernels = 8;
typedef double Kernels __attribute__((vector_size(kKernels * sizeof(double))));

int Positions(const WinogradConvolution& convolution) {
  return (convolution.tile + 2) * (convolution.tile + 2);
}

// One dimension of the weight transform, G g: the row of a point holds its powers over the product of its
// differences from the other finite points.
void TransformWeight(int tile, const Kernels* g, Kernels* u) {
  if (tile == 2) {  // Points 0, 1, -1 and infinity.
    u[0] = g[0];
    u[1] = (g[0] + g[1] + g[2]) / 2;
    u[2] = (g[0] - g[1] + g[2]) / 2;
    u[3] = g[2];
    return;
  }
  const double a = std::sqrt(0.5);
  const double b = std::sqrt(2.0);
  u[0] = g[0];
  u[1] = -(g[0] + a * g[1] + 0.5 * g[2]) / 1.5;
  u[2] = -(g[0] - a * g[1] + 0.5 * g[2]) / 1.5;
  u[3] = (g[0] + b * g[1] + 2.0 * g[2]) / 6.0;
  u[4] = (g[0] - b * g[1] + 2.0 * g[2]) / 6.0;
  u[5] = g[2];
}

// u[row][column] = G w G^T
void TransformKernels(int tile, const Kernels* w, Kernels (*u)[kLargestSide]) {
  const int side = tile + 2;
  Kernels half[kLargestSide][3];
  for (int x = 0; x < 3; ++x) {
    const Kernels column[3] = {w[x], w[3 + x], w[6 + x]};
    Kernels transformed[kLargestSide];
    TransformWeight(tile, column, transformed);
    for (int y = 0; y < side; ++y) half[y][x] = transformed[y];
  }
  for (int y = 0; y < side; ++y) TransformWeight(tile, half[y], u[y]);
}

// The first of the tiles that have a position, and the one behind the last.
std::pair<int, int> TilesOf(const WinogradMaps& maps, int tile, int position) {
  const auto of_narrow = [](int i) { return i <= 2 || i == kLargestSide - 1; };
  const bool narrow_row = of_narrow(position / (tile + 2));
  const bool narrow_column = of_narrow(position % (tile + 2));
  const int right = maps.images * maps.whole_rows * maps.narrow_columns;
  const int whole = maps.images * maps.whole_rows * maps.whole_columns;
  const int bottom = maps.images * maps.narrow_rows * maps.whole_columns;
  const int end = right + whole + (narrow_row ? bottom : 0);
  return {narrow_column ? 0 : right, narrow_row && narrow_column ? maps.tiles() : end};
}

ptrdiff_t ProductPosition(int tiles, int blocks, int block_width) {
  return static_cast<ptrdiff_t>(tiles) * blocks * block_width + kPositionPadding;
}

}  // namespace

WinogradSide CutIntoTiles(int tile, int pixels) {
  const int left = pixels % tile;
  const bool narrow = tile == 4 && (left == 1 || left == 2);
  return {pixels / tile + (left > 0 && !narrow), narrow};
}

PackedWinograd PackWinograd(int tile, const float* weight, const float* bias, int in_channels,
                            int out_channels, int groups, int block_width) {
  PackedWinograd packed;
  static_cast<ConvolutionShape&>(packed) =
      MakeConvolutionShape(in_channels, out_channels, 1, groups, block_width);
  packed.tile = tile;
  const int group_in = packed.group_in;
  const int group_out = packed.group_out;
  const int blocks = packed.blocks;
  const int side = tile + 2;
  const size_t block_size = static_cast<size_t>(group_in) * block_width;
  const size_t position_size = blocks * block_size;
  const size_t weight_size = groups * side * side * position_size;
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
    float* of_block = packed.storage.data() + group * side * side * position_size + block * block_size;
    for (int c = 0; c < group_in; ++c) {
      for (int lane = 0; lane < lanes; lane += kKernels) {
        const int together = std::min(kKernels, lanes - lane);
        const float* from = weight + (static_cast<size_t>(channel + lane) * group_in + c) * 9;
        Kernels w[9] = {};
        for (int i = 0; i < together; ++i) {
          for (int tap = 0; tap < 9; ++tap) w[tap][i] = from[static_cast<size_t>(i) * group_in * 9 + tap];
        }
        Kernels u[kLargestSide][kLargestSide];
        TransformKernels(tile, w, u);
        float* to = of_block + static_cast<size_t>(c) * block_width + lane;
        for (int p = 0; p < side * side; ++p, to += position_size) {
          for (int i = 0; i < together; ++i) to[i] = static_cast<float>(u[p / side][p % side][i]);
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
  return Positions(convolution) * WinogradInputPosition(convolution, tiles);
}

size_t WinogradProductSize(const WinogradConvolution& convolution, int tiles, int blocks) {
  return Positions(convolution) * ProductPosition(tiles, blocks, convolution.block_width);
}

void RunWinogradBlocks(const KernelTable& kernels, const BlockKernels& products,
                       const WinogradConvolution& convolution, const WinogradMaps& maps,
                       const WinogradTiles& tiles, int group, int first_block, int last_block, bool relu,
                       float* product) {
  const int width = convolution.block_width;
  const WinogradTransforms& transforms = convolution.tile == 2 ? kernels.winograd2 : kernels.winograd4;
  const int positions = Positions(convolution);
  const size_t block_size = static_cast<size_t>(convolution.group_in) * width;
  const ptrdiff_t product_tile = static_cast<ptrdiff_t>(last_block - first_block) * width;
  const ptrdiff_t product_position = ProductPosition(tiles.count, last_block - first_block, width);
  // Positions outside, blocks inside: one position's tiles stay in cache for all blocks. Meanwhile the next
  // position's are fetched, a share of them with every block.
  const int blocks = last_block - first_block;
  const ptrdiff_t v_lines = tiles.v_position / kCacheLine;
  const ptrdiff_t product_lines = product_position / kCacheLine;
  for (int p = 0; p < positions; ++p) {
    const float* v = tiles.v + p * tiles.v_position;
    const float* u =
        convolution.weight + (static_cast<size_t>(group) * positions + p) * convolution.blocks * block_size;
    float* to = product + p * product_position;
    const auto [begin, end] = TilesOf(maps, convolution.tile, p);
    const int first = std::max(begin - tiles.first, 0);
    const int count = std::min(end - tiles.first, tiles.count) - first;
    if (count <= 0) continue;
    for (int block = 0; block < blocks; ++block) {
      const WinogradNext next = {
          v + tiles.v_position + v_lines * block / blocks * kCacheLine, v_lines / blocks,
          to + product_position + product_lines * block / blocks * kCacheLine, product_lines / blocks};
      products.winograd_multiply(v + static_cast<ptrdiff_t>(first) * convolution.group_in,
                                 convolution.group_in, convolution.group_in, count,
                                 u + (first_block + block) * block_size,
                                 to + first * product_tile + block * width, product_tile, next);
    }
  }
  const int first_channel = first_block * width;
  const int channels = std::min(last_block * width, convolution.group_out) - first_channel;
  transforms.output(
      product, product_position, product_tile, maps, convolution.out_channels, tiles.first, tiles.count,
      group * convolution.group_out + first_channel, channels,
      convolution.bias + (static_cast<size_t>(group) * convolution.blocks + first_block) * width, relu);
}

}  // namespace repvgg::cpu
