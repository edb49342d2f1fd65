// The kernels of winograd.h, under the rules of kernels_impl.h, which includes this.
#include "cpu/winograd.h"

namespace repvgg::cpu {
namespace {

// One dimension of the transforms: `Input` computes B^T d, `Output` A^T m.
template <int kTile>
struct Transform;

template <>
struct Transform<2> {
  static inline void Input(const Vector* d, Vector* v) {
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = d[2] - d[1];
    v[3] = d[3] - d[1];
  }
  static inline void Output(const Vector* m, Vector* y) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] + m[3];
  }
};

// With a = sqrt(1/2) and b = sqrt(2), the identities a b = 1 and a^2 + b^2 = 5/2 keep the constants few.
template <>
struct Transform<4> {
  static constexpr float kA = 0.70710678118654752f;
  static constexpr float kB = 1.41421356237309505f;

  static inline void Input(const Vector* d, Vector* v) {
    v[0] = d[0] - 2.5f * d[2] + d[4];
    const Vector even_a = d[4] - 2.0f * d[2];
    const Vector odd_a = kA * (d[3] - 2.0f * d[1]);
    v[1] = even_a + odd_a;
    v[2] = even_a - odd_a;
    const Vector even_b = d[4] - 0.5f * d[2];
    const Vector odd_b = kB * (d[3] - 0.5f * d[1]);
    v[3] = even_b + odd_b;
    v[4] = even_b - odd_b;
    v[5] = d[1] - 2.5f * d[3] + d[5];
  }
  static inline void Output(const Vector* m, Vector* y) {
    const Vector sum_a = m[1] + m[2];
    const Vector sum_b = m[3] + m[4];
    const Vector difference_a = kA * (m[1] - m[2]);
    const Vector difference_b = kB * (m[3] - m[4]);
    y[0] = m[0] + sum_a + sum_b;
    y[1] = difference_a + difference_b;
    y[2] = 0.5f * sum_a + 2.0f * sum_b;
    y[3] = 0.5f * difference_a + 2.0f * difference_b + m[5];
  }
};

struct TilePlace {
  int image, y, x;  // In pixels.
};

template <int kTile>
TilePlace PlaceOf(const WinogradMaps& maps, int tile) {
  const int per_image = maps.tile_rows * maps.tile_columns;
  const int in_image = tile % per_image;
  return {tile / per_image, in_image / maps.tile_columns * kTile, in_image % maps.tile_columns * kTile};
}

// v[position][tile][0..channels), `v_position` apart.
template <int kTile>
void WinogradInput(const WinogradMaps& maps, int in_channels, int channel, int channels, int first_tile,
                   int tiles, float* v, ptrdiff_t v_position) {
  constexpr int kSide = kTile + 2;
  for (int t = 0; t < tiles; ++t) {
    const TilePlace place = PlaceOf<kTile>(maps, first_tile + t);
    // The first row and column of a tile may be the border; what lies beyond the border at the end counts as
    // zero.
    const float* corner = maps.in + place.image * maps.in_image + (place.y - 1) * maps.in_row +
                          (place.x - 1) * in_channels + channel;
    const int rows = maps.height + 1 - place.y + 1;
    const int columns = maps.width + 1 - place.x + 1;
    float* to = v + static_cast<ptrdiff_t>(t) * channels;
    for (int c = 0; c < channels; c += kLanes) {
      Vector half[kSide][kSide];
      for (int x = 0; x < kSide; ++x) {
        Vector d[kSide];
        for (int y = 0; y < kSide; ++y) {
          d[y] = y < rows && x < columns ? Load(corner + y * maps.in_row + x * in_channels + c) : Vector{};
        }
        Vector column[kSide];
        Transform<kTile>::Input(d, column);
        for (int y = 0; y < kSide; ++y) half[y][x] = column[y];
      }
      for (int y = 0; y < kSide; ++y) {
        Vector row[kSide];
        Transform<kTile>::Input(half[y], row);
        for (int x = 0; x < kSide; ++x) Store(to + (y * kSide + x) * v_position + c, row[x]);
      }
    }
  }
}

template <int kVectors>
void WinogradMultiply(const float* v, ptrdiff_t v_tile, int depth, int tiles, const float* u, float* product,
                      ptrdiff_t product_tile, const WinogradNext& next) {
  const int parts = (tiles + RowsOf(kVectors) - 1) / RowsOf(kVectors);
  const ptrdiff_t block = static_cast<ptrdiff_t>(depth) * kVectors * kLanes;
  const ptrdiff_t lines = block / kLineFloats;
  const ptrdiff_t stream = depth / kStep * kStreamLines;
  // With few tiles weights are read often, and the transforms of so few are in the second-level cache.
  const bool only_weights = parts * stream < lines;
  for (int part = 0, t = 0; part < parts; ++part) {
    const int end = tiles * (part + 1) / parts;
    Fetch fetch = {part + 1 < parts ? v + end * v_tile : v,
                   {Share(u + block, lines, part, parts), Share(next.v, next.v_lines, part, parts),
                    Share(next.product, next.product_lines, part, parts)}};
    if (only_weights) {
      for (int i = 1; i < kStreams; ++i) fetch.streams[i] = fetch.streams[i - 1] + stream * kLineFloats;
    }
    ProductsTable<1, kVectors>::kOf[end - t - 1](v + t * v_tile, 0, v_tile, depth, u,
                                                 product + t * product_tile, product_tile, false, fetch);
    t = end;
  }
}

// Transforms products[position][tile][channel] back, adds the bias and writes `channels` channels from
// `channel` on.
template <int kTile>
void WinogradOutput(const float* products, ptrdiff_t product_position, ptrdiff_t product_tile,
                    const WinogradMaps& maps, int out_channels, int first_tile, int tiles, int channel,
                    int channels, const float* bias, bool relu) {
  constexpr int kSide = kTile + 2;
  for (int t = 0; t < tiles; ++t) {
    const TilePlace place = PlaceOf<kTile>(maps, first_tile + t);
    float* corner = maps.out + place.image * maps.out_image + place.y * maps.out_row +
                    static_cast<ptrdiff_t>(place.x) * out_channels + channel;
    const int rows = maps.height - place.y < kTile ? maps.height - place.y : kTile;
    const int columns = maps.width - place.x < kTile ? maps.width - place.x : kTile;
    const float* from = products + t * product_tile;
    for (int c = 0; c < channels; c += kLanes) {
      Vector half[kTile][kSide];
      for (int x = 0; x < kSide; ++x) {
        Vector m[kSide];
        for (int y = 0; y < kSide; ++y) m[y] = Load(from + (y * kSide + x) * product_position + c);
        Vector column[kTile];
        Transform<kTile>::Output(m, column);
        for (int y = 0; y < kTile; ++y) half[y][x] = column[y];
      }
      const Vector b = Load(bias + c);
      for (int y = 0; y < rows; ++y) {
        Vector row[kTile];
        Transform<kTile>::Output(half[y], row);
        for (int x = 0; x < columns; ++x) {
          const Vector value = relu ? Relu(row[x] + b) : row[x] + b;
          float* to = corner + y * maps.out_row + static_cast<ptrdiff_t>(x) * out_channels + c;
          StoreChannels(to, value, channels - c);
        }
      }
    }
  }
}

}  // namespace
}  // namespace repvgg::cpu
