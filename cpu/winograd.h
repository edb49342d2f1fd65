// Winograd convolution F(m x n, 3 x 3) for stride 1 (Lavin and Gray, arXiv 1509.09308), m and n 2 or 4: the
// output is cut into tiles of m x n pixels; the (m + 2) x (n + 2) input pixels of each are transformed,
// multiplied by transformed weights position by position (matrix products over channels) and transformed
// back. For 4 x 4 that is 36 multiplications for 16 outputs of a channel where direct convolution has 144,
// for 4 x 2 24 for 8 instead of 72, for 2 x 2 16 for 4 instead of 36.
//
// Transformed weights are 4 times (4 x 4), 2.7 times (4 x 2) or 1.8 times (2 x 2) as large. Whether the
// additional memory traffic outweighs the saved multiplications depends on how many tiles use the weights
// while they are in cache.
//
// F(4) uses the interpolation points 0, +-sqrt(1/2), +-sqrt(2) and infinity, whose rounding error is half
// that of the usual 0, +-1, +-2.
//
// One or two remaining rows (or columns) are covered by narrow tiles of two: F(2) with the points 0,
// +-sqrt(1/2) and infinity, which uses four of the six positions and the same weights. For a map of 14 x 14,
// the most frequent size, F(4x4) then takes 22 x 22 multiplications per channel instead of 24 x 24.
#pragma once

#include <cstddef>

#include "cpu/kernels.h"
#include "engine/huge_array.h"

namespace repvgg::cpu {

// The output size of a tile.
struct WinogradTile {
  int rows = 0;
  int columns = 0;

  int positions() const { return (rows + 2) * (columns + 2); }
};

struct WinogradConvolution : ConvolutionShape {
  WinogradTile tile;

  // Transformed: [group][position][block][input channel of the group][channel of the block].
  const float* weight = nullptr;
  const float* bias = nullptr;  // [group][block][channel of the block]
};

struct PackedWinograd : WinogradConvolution {
  HugeArray<float> storage;
};

// Images of one size in the layout of kernels.h. Tiles are numbered over all images: first those with narrow
// columns and whole rows, then whole tiles, then those with narrow rows and whole columns, then those narrow
// in both, so that the tiles that have a given position are contiguous. Within each kind they are ordered by
// image, row, column.
struct WinogradMaps {
  const float* in = nullptr;  // First pixel of the first image.
  ptrdiff_t in_row = 0;       // Distances in floats.
  ptrdiff_t in_image = 0;
  float* out = nullptr;
  ptrdiff_t out_row = 0;
  ptrdiff_t out_image = 0;
  int height = 0;
  int width = 0;
  int images = 0;
  int whole_rows = 0;  // Of tiles, in each image.
  int whole_columns = 0;
  int narrow_rows = 0;  // 0 or 1
  int narrow_columns = 0;

  int tiles() const { return images * (whole_rows + narrow_rows) * (whole_columns + narrow_columns); }
};

// The tiles that cover `pixels` pixels of one dimension.
struct WinogradSide {
  int whole;
  int narrow;  // 0 or 1
};
WinogradSide CutIntoTiles(int tile, int pixels);

// A range of a convolution's tiles, and the buffer of their transforms.
struct WinogradTiles {
  int first = 0;
  int count = 0;
  float* v = nullptr;  // Of one group: [position][count][group_in], positions `v_position` apart.
  ptrdiff_t v_position = 0;
};

// Transforms `weight`, [out_channels][in_channels / groups][3][3], in double and packs it.
PackedWinograd PackWinograd(WinogradTile tile, const float* weight, const float* bias, int in_channels,
                            int out_channels, int groups, int block_width);

// The sizes, in floats, of the buffers for the transforms and the products of `tiles` tiles of one group.
size_t WinogradInputSize(const WinogradConvolution& convolution, int tiles);
size_t WinogradProductSize(const WinogradConvolution& convolution, int tiles);

// The distance between positions in a buffer of WinogradInputSize().
ptrdiff_t WinogradInputPosition(const WinogradConvolution& convolution, int tiles);

// The work of multiplying a set of tiles, counted in products of one tile with one block at one position.
size_t WinogradWork(const WinogradConvolution& convolution, const WinogradMaps& maps,
                    const WinogradTiles& tiles);

// Multiplies with the weights of a group. Of all pairs of position and block, does those whose work begins in
// [begin, end). Writes `product`, [position][tile][block][channel of the block].
void MultiplyWinograd(const BlockKernels& kernels, const WinogradConvolution& convolution,
                      const WinogradMaps& maps, const WinogradTiles& tiles, int group, size_t begin,
                      size_t end, float* product);

// Transforms the products of tiles [first, last) of the set back to outputs.
void OutputWinograd(const WinogradTransforms& transforms, const WinogradConvolution& convolution,
                    const WinogradMaps& maps, const WinogradTiles& tiles, int group, int first, int last,
                    bool relu, const float* product);

}  // namespace repvgg::cpu
