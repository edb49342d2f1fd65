// Winograd's minimal filtering algorithm F(m x m, 3x3) (Lavin and Gray, arXiv 1509.09308): (m + 2)^2
// multiplications for the m^2 outputs of a tile, where direct convolution takes 9 m^2.
//   out = A^T [ (G w G^T) * (B^T d B) ] A, summed over channels inside the brackets
// A tile's input d starts one pixel above and to the left of its outputs. A NaN or infinity in the input can
// spread to all outputs of the tiles that read it.
//
// F(2x2) uses the interpolation points 0, 1, -1 and infinity. F(4x4) uses 0, a, -a, b, -b and infinity with
// a = sqrt(1/2) and b = sqrt(2), which halves the error of the usual 1 and 2. Since a b = 1 and a^2 + b^2 =
// 5/2, it needs few constants.
#pragma once

#include <type_traits>

#include "cuda/convolution.h"
#include "cuda/ptx.cuh"

namespace repvgg::cuda {

// Positions of the transformed domain.
template <int kTile>
inline constexpr int kPositionsOf = (kTile + 2) * (kTile + 2);

template <int kTile>
REPVGG_DEVICE constexpr int WinogradTiles(const Convolution& layer) {
  return layer.batch * DivideUp(layer.height, kTile) * DivideUp(layer.width, kTile);
}

// The image and first output pixel of a tile.
template <int kTile>
struct TilePlace {
  int image, y, x;

  REPVGG_DEVICE TilePlace(const Convolution& layer, int tile) {
    const int tiles_x = DivideUp(layer.width, kTile), tiles_y = DivideUp(layer.height, kTile);
    const int line = tile / tiles_x;
    x = kTile * (tile - line * tiles_x);
    image = line / tiles_y;
    y = kTile * (line - image * tiles_y);
  }
};

// One thread's share of the input: a tile's pixels at one channel, or at one pair of channels.
template <int kTile>
class TileInput {
 public:
  static constexpr int kSide = kTile + 2;

  REPVGG_DEVICE TileInput(const Convolution& layer, int tile, int channel)
      : row_stride_(layer.width * layer.in_channels), pixel_stride_(layer.in_channels) {
    const TilePlace<kTile> place(layer, tile);
    unsigned columns = 0;
#pragma unroll
    for (int c = 0; c < kSide; ++c) columns |= (Inside(place.x + c - 1, layer.width) ? 1u : 0u) << c;
#pragma unroll
    for (int r = 0; r < kSide; ++r) {
      if (Inside(place.y + r - 1, layer.height)) inside_ |= static_cast<Mask>(columns) << kSide * r;
    }
    if (tile >= WinogradTiles<kTile>(layer)) inside_ = 0;
    offset_ = ((place.image * layer.height + place.y - 1) * layer.width + place.x - 1) * layer.in_channels +
              channel;
  }

  // `load` is called with the offset of each pixel inside the map, `channel` channels after the first.
  template <typename T, typename Load>
  REPVGG_DEVICE void LoadTile(T (&pixels)[kSide * kSide], int channel, bool valid, Load load) const {
#pragma unroll
    for (int i = 0; i < kSide * kSide; ++i) {
      const bool inside = valid && (inside_ >> i & 1) != 0;
      pixels[i] =
          inside ? load(offset_ + channel + i / kSide * row_stride_ + i % kSide * pixel_stride_) : T{};
    }
  }

 private:
  using Mask = std::conditional_t<kSide == 4, unsigned, uint64_t>;

  REPVGG_DEVICE static bool Inside(int at, int size) {
    return static_cast<unsigned>(at) < static_cast<unsigned>(size);
  }

  int row_stride_;
  int pixel_stride_;
  int offset_;       // Of the first pixel, which may lie outside the map.
  Mask inside_ = 0;  // Bit kSide r + c: pixel (r, c) lies inside the map.
};

// One dimension of the transforms, of elements kStride apart. Input: v = B^T v, in place. Output: out = A^T
// m.
template <int kTile>
struct Transform;

template <>
struct Transform<2> {
  template <int kStride>
  REPVGG_DEVICE static void Input(float* v) {
    const float first = v[0] - v[2 * kStride], second = v[kStride] + v[2 * kStride];
    const float third = v[2 * kStride] - v[kStride], fourth = v[kStride] - v[3 * kStride];
    v[0] = first, v[kStride] = second, v[2 * kStride] = third, v[3 * kStride] = fourth;
  }
  template <int kStride>
  REPVGG_DEVICE static void Output(const float* m, float (&out)[2]) {
    out[0] = m[0] + m[kStride] + m[2 * kStride];
    out[1] = m[kStride] - m[2 * kStride] - m[3 * kStride];
  }
};

template <>
struct Transform<4> {
  static constexpr float kA = 0.70710678118654752f;
  static constexpr float kB = 1.41421356237309505f;

  template <int kStride>
  REPVGG_DEVICE static void Input(float* v) {
    const float d0 = v[0], d1 = v[kStride], d2 = v[2 * kStride];
    const float d3 = v[3 * kStride], d4 = v[4 * kStride], d5 = v[5 * kStride];
    const float even_a = d4 - 2.0f * d2, odd_a = kA * (d3 - 2.0f * d1);
    const float even_b = d4 - 0.5f * d2, odd_b = kB * (d3 - 0.5f * d1);
    v[0] = d0 - 2.5f * d2 + d4;
    v[kStride] = even_a + odd_a;
    v[2 * kStride] = even_a - odd_a;
    v[3 * kStride] = even_b + odd_b;
    v[4 * kStride] = even_b - odd_b;
    v[5 * kStride] = d1 - 2.5f * d3 + d5;
  }
  template <int kStride>
  REPVGG_DEVICE static void Output(const float* m, float (&out)[4]) {
    const float sum_a = m[kStride] + m[2 * kStride], difference_a = kA * (m[kStride] - m[2 * kStride]);
    const float sum_b = m[3 * kStride] + m[4 * kStride];
    const float difference_b = kB * (m[3 * kStride] - m[4 * kStride]);
    out[0] = m[0] + sum_a + sum_b;
    out[1] = difference_a + difference_b;
    out[2] = 0.5f * sum_a + 2.0f * sum_b;
    out[3] = 0.5f * difference_a + 2.0f * difference_b + m[5 * kStride];
  }
};

// d becomes B^T d B.
template <int kTile>
REPVGG_DEVICE void TransformInput(float (&d)[kPositionsOf<kTile>]) {
  constexpr int kSide = kTile + 2;
#pragma unroll
  for (int i = 0; i < kSide; ++i) Transform<kTile>::template Input<kSide>(d + i);
#pragma unroll
  for (int i = 0; i < kSide; ++i) Transform<kTile>::template Input<1>(d + i * kSide);
}

// out = A^T m A.
template <int kTile>
REPVGG_DEVICE void TransformOutput(const float (&m)[kPositionsOf<kTile>], float (&out)[kTile][kTile]) {
  constexpr int kSide = kTile + 2;
  float half[kTile][kSide];
#pragma unroll
  for (int i = 0; i < kSide; ++i) {
    float column[kTile];
    Transform<kTile>::template Output<kSide>(m + i, column);
#pragma unroll
    for (int row = 0; row < kTile; ++row) half[row][i] = column[row];
  }
#pragma unroll
  for (int row = 0; row < kTile; ++row) Transform<kTile>::template Output<1>(half[row], out[row]);
}

}  // namespace repvgg::cuda
