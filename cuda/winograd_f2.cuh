// Winograd's minimal filtering F(2x2, 3x3) (Lavin and Gray, arXiv 1509.09308, section 4.1): 16
// multiplications for the 4 outputs of a tile where direct convolution takes 36.
//   out = A^T [ (G w G^T) * (B^T d B) ] A, summed over channels inside the brackets
//   B^T = 1  0 -1  0     G = 1    0   0     A^T = 1  1  1  0
//         0  1  1  0         1/2  1/2 1/2         0  1 -1 -1
//         0 -1  1  0         1/2 -1/2 1/2
//         0  1  0 -1         0    0   1
// A tile's 4x4 inputs d start one pixel above and left of its 2x2 outputs. Everything happens in one kernel:
// the transformed domain, 16 positions x tiles x channels, never leaves the block. A NaN or infinity in the
// input can spread to all four outputs of the tiles that read it.
#pragma once

#include "cuda/convolution.h"
#include "cuda/ptx.cuh"
#include "cuda/winograd_f2.h"

namespace repvgg::cuda {

inline constexpr int kPositions = 16;

REPVGG_DEVICE constexpr int WinogradTiles(const Convolution& layer) {
  return layer.batch * DivideUp(layer.height, 2) * DivideUp(layer.width, 2);
}

// Where a tile lies.
struct TilePlace {
  int image, y, x;  // Of the first output pixel.

  REPVGG_DEVICE TilePlace(const Convolution& layer, int tile) {
    const int tiles_x = DivideUp(layer.width, 2), tiles_y = DivideUp(layer.height, 2);
    const int line = tile / tiles_x;
    x = 2 * (tile - line * tiles_x);
    image = line / tiles_y;
    y = 2 * (line - image * tiles_y);
  }
};

// One thread's share of the input: the 4x4 pixels of a tile at one channel, or one pair of channels.
class TileInput {
 public:
  REPVGG_DEVICE TileInput(const Convolution& layer, int tile, int channel)
      : row_stride_(layer.width * layer.in_channels), pixel_stride_(layer.in_channels) {
    const TilePlace place(layer, tile);
    // Bit 4 r + c: pixel (r, c) lies inside the map.
    const unsigned rows = (place.y > 0 ? 0x000fu : 0u) | 0x00f0u |
                          (place.y + 1 < layer.height ? 0x0f00u : 0u) |
                          (place.y + 2 < layer.height ? 0xf000u : 0u);
    const unsigned columns = (place.x > 0 ? 0x1111u : 0u) | 0x2222u |
                             (place.x + 1 < layer.width ? 0x4444u : 0u) |
                             (place.x + 2 < layer.width ? 0x8888u : 0u);
    inside_ = tile < WinogradTiles(layer) ? rows & columns : 0;
    offset_ = ((place.image * layer.height + place.y - 1) * layer.width + place.x - 1) * layer.in_channels +
              channel;
  }

  // `load` is called with the offset of each pixel inside, of channel `channel` after the first.
  template <typename T, typename Load>
  REPVGG_DEVICE void LoadTile(T (&pixels)[16], int channel, bool valid, Load load) const {
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const bool inside = valid && (inside_ >> i & 1) != 0;
      pixels[i] = inside ? load(offset_ + channel + i / 4 * row_stride_ + i % 4 * pixel_stride_) : T{};
    }
  }

 private:
  int row_stride_;
  int pixel_stride_;
  int offset_;  // Of the first pixel, which may lie outside.
  unsigned inside_;
};

// d becomes B^T d B.
REPVGG_DEVICE void TransformInput(float (&d)[16]) {
#pragma unroll
  for (int pass = 0; pass < 2; ++pass) {
    const int stride = pass == 0 ? 4 : 1, next = pass == 0 ? 1 : 4;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float* const v = d + i * next;
      const float first = v[0] - v[2 * stride], second = v[stride] + v[2 * stride];
      const float third = v[2 * stride] - v[stride], fourth = v[stride] - v[3 * stride];
      v[0] = first, v[stride] = second, v[2 * stride] = third, v[3 * stride] = fourth;
    }
  }
}

// out = A^T m A.
REPVGG_DEVICE void TransformOutput(const float (&m)[16], float (&out)[4]) {
  float half[2][4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    half[0][i] = m[i] + m[4 + i] + m[8 + i];
    half[1][i] = m[4 + i] - m[8 + i] - m[12 + i];
  }
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    out[row * 2] = half[row][0] + half[row][1] + half[row][2];
    out[row * 2 + 1] = half[row][1] - half[row][2] - half[row][3];
  }
}

}  // namespace repvgg::cuda
