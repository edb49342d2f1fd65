// Winograd convolution F(4x4, 3x3) for stride 1 (Lavin and Gray, arXiv 1509.09308): the output is cut into
// tiles of 4x4 pixels; the 6x6 input pixels of each are transformed, multiplied by transformed weights
// position by position (36 matrix products over channels) and transformed back. That is 36 multiplications
// for 16 outputs of a channel instead of 144.
//
// The points are 0, +-sqrt(1/2), +-sqrt(2) and infinity, whose rounding error is half that of the usual 0,
// +-1, +-2.
#pragma once

#include <cstddef>
#include <memory>

#include "cpu/kernels.h"

namespace repvgg::cpu {

constexpr int kWinogradTile = 4;
constexpr int kWinogradSide = kWinogradTile + 2;
constexpr int kWinogradPositions = kWinogradSide * kWinogradSide;

// Tiles whose transforms are in memory at a time. Measured from 14 to 112 on 48 to 512 channels (AVX-512, 2
// MB of L2): 28 is at or near the best everywhere. Their 36 matrices of 28 x 384 floats are 1.5 MB.
constexpr int kTilesAtOnce = 28;

// Positions of transformed tiles are this much further apart than they need be. Without it they would often
// lie a multiple of 4 KB apart, where the first-level cache keeps only a few of them.
constexpr int kPositionPadding = 16;

// Plain data, as Convolution is.
struct WinogradConvolution {
  int in_channels = 0;
  int out_channels = 0;
  int groups = 1;
  int group_in = 0;
  int group_out = 0;
  int blocks = 0;  // Per group, of the table's block_width output channels.

  // Transformed: [group][block][position][input channel of the group][channel of the block].
  const float* weight = nullptr;
  const float* bias = nullptr;  // [group][block][channel of the block]
};

struct PackedWinograd : WinogradConvolution {
  HugeArray storage;
};

// Images of one size in the layout of kernels.h. Tiles are counted over all of them: image, row of tiles,
// column.
struct WinogradMaps {
  const float* in = nullptr;  // First pixel of the first image.
  ptrdiff_t in_row = 0;       // Distances in floats.
  ptrdiff_t in_image = 0;
  float* out = nullptr;
  ptrdiff_t out_row = 0;
  ptrdiff_t out_image = 0;
  int height = 0;
  int width = 0;
  int tile_rows = 0;
  int tile_columns = 0;
};

// Transforms `weight`, [out_channels][in_channels / groups][3][3], in double and packs it.
PackedWinograd PackWinograd(const float* weight, const float* bias, int in_channels, int out_channels,
                            int groups, int block_width);

// Floats of scratch memory that one thread needs for RunWinograd.
size_t WinogradScratch(const WinogradConvolution& convolution, int block_width);

// Computes tiles first_tile to last_tile.
void RunWinograd(const KernelTable& kernels, const WinogradConvolution& convolution, const WinogradMaps& maps,
                 size_t first_tile, size_t last_tile, bool relu, float* scratch);

}  // namespace repvgg::cpu
