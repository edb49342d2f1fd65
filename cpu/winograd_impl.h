// The kernels of winograd.h, under the rules of kernels_impl.h, which includes this.
#include "cpu/winograd.h"

namespace repvgg::cpu {
namespace {

// One dimension of the transforms of a tile with kOutputs outputs: `Input` computes B^T d and `Output` A^T m,
// each from kOutputs + 2 values. kPositions are the positions of the transformed values.
template <int kTileOutputs>
struct Transform;

template <>
struct Transform<2> {
  static constexpr int kOutputs = 2;
  static constexpr int kPositions[] = {0, 1, 2, 3};

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
  static constexpr int kOutputs = 4;
  static constexpr int kPositions[] = {0, 1, 2, 3, 4, 5};
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

// Narrow tiles of F(4): F(2) with four of its points, 0, +-a and infinity, and the weights of F(4). Proper
// weights for these points would be -2, -3/2, -3/2 and 1 times as large; the inputs are multiplied by these
// factors instead.
struct NarrowTransform {
  static constexpr int kOutputs = 2;
  static constexpr int kPositions[] = {0, 1, 2, 5};
  static constexpr float kA = Transform<4>::kA;

  static inline void Input(const Vector* d, Vector* v) {
    const Vector odd = (1.5f * kA) * d[1];
    v[0] = d[0] - 2.0f * d[2];
    v[1] = -1.5f * d[2] - odd;
    v[2] = -1.5f * d[2] + odd;
    v[3] = d[3] - 0.5f * d[1];
  }
  static inline void Output(const Vector* m, Vector* y) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = kA * (m[1] - m[2]) + m[3];
  }
};

struct TilePlace {
  int image, y, x;  // In pixels.
  bool narrow_row, narrow_column;
};

template <int kRows, int kColumns>
TilePlace PlaceOf(const WinogradMaps& maps, int tile) {
  const auto place = [&](int index, int rows, int columns, bool narrow_row, bool narrow_column) {
    const int in_image = index % (rows * columns);
    return TilePlace{index / (rows * columns), kRows * (narrow_row ? maps.whole_rows : in_image / columns),
                     kColumns * (narrow_column ? maps.whole_columns : in_image % columns), narrow_row,
                     narrow_column};
  };
  const int right = maps.images * maps.whole_rows * maps.narrow_columns;
  if (tile < right) return place(tile, maps.whole_rows, 1, false, true);
  tile -= right;
  const int whole = maps.images * maps.whole_rows * maps.whole_columns;
  if (tile < whole) return place(tile, maps.whole_rows, maps.whole_columns, false, false);
  tile -= whole;
  const int bottom = maps.images * maps.narrow_rows * maps.whole_columns;
  if (tile < bottom) return place(tile, 1, maps.whole_columns, true, false);
  return place(tile - bottom, 1, 1, true, true);
}

// Calls use.operator()<Row, Column>() with the transforms for the tile's rows and columns.
template <int kRows, int kColumns, class Use>
inline void WithTransforms(const TilePlace& place, const Use& use) {
  const auto with_row = [&]<class Row>() {
    if constexpr (kColumns == 4) {
      if (place.narrow_column) return use.template operator()<Row, NarrowTransform>();
    }
    use.template operator()<Row, Transform<kColumns>>();
  };
  if constexpr (kRows == 4) {
    if (place.narrow_row) return with_row.template operator()<NarrowTransform>();
  }
  with_row.template operator()<Transform<kRows>>();
}

// v[position][tile][0..channels), `v_position` apart.
template <int kTileRows, int kTileColumns>
void WinogradInput(const WinogradMaps& maps, int in_channels, int channel, int channels, int first_tile,
                   int tiles, float* v, ptrdiff_t v_position) {
  for (int t = 0; t < tiles; ++t) {
    const TilePlace place = PlaceOf<kTileRows, kTileColumns>(maps, first_tile + t);
    // The first row and column of a tile may be the border; what lies beyond the border at the end counts as
    // zero.
    const float* corner = maps.in + place.image * maps.in_image + (place.y - 1) * maps.in_row +
                          (place.x - 1) * in_channels + channel;
    const int rows = maps.height + 1 - place.y + 1;
    const int columns = maps.width + 1 - place.x + 1;
    float* to = v + static_cast<ptrdiff_t>(t) * channels;
    WithTransforms<kTileRows, kTileColumns>(place, [&]<class Row, class Column>() {
      constexpr int kRows = Row::kOutputs + 2;
      constexpr int kColumns = Column::kOutputs + 2;
      for (int c = 0; c < channels; c += kLanes) {
        Vector half[kRows][kColumns];
        for (int x = 0; x < kColumns; ++x) {
          Vector d[kRows];
          for (int y = 0; y < kRows; ++y) {
            d[y] = y < rows && x < columns ? Load(corner + y * maps.in_row + x * in_channels + c) : Vector{};
          }
          Vector column[kRows];
          Row::Input(d, column);
          for (int y = 0; y < kRows; ++y) half[y][x] = column[y];
        }
        for (int y = 0; y < kRows; ++y) {
          Vector row[kColumns];
          Column::Input(half[y], row);
          for (int x = 0; x < kColumns; ++x) {
            const int position = Row::kPositions[y] * (kTileColumns + 2) + Column::kPositions[x];
            Store(to + position * v_position + c, row[x]);
          }
        }
      }
    });
  }
}

template <int kVectors>
void WinogradMultiply(const float* v, ptrdiff_t v_tile, int depth, int tiles, const float* u, float* product,
                      ptrdiff_t product_tile, const WinogradNext& next) {
  const int parts = (tiles + RowsOf(kVectors) - 1) / RowsOf(kVectors);
  const ptrdiff_t block = static_cast<ptrdiff_t>(depth) * kVectors * kLanes;
  const ptrdiff_t lines = block / kLineFloats;
  const ptrdiff_t steps = depth / kStep;
  ptrdiff_t stream = steps * kStreamLines;
  // With few tiles weights are read often, and the transforms of so few are in the second-level cache.
  const bool only_weights = parts * stream < lines;
  int stream_lines = kStreamLines;
  if (only_weights && next.all_weights && steps > 0) {
    const ptrdiff_t fetches = parts * steps * kStreams;
    const int needed = static_cast<int>((lines + fetches - 1) / fetches);
    stream_lines = needed > kStreamLines ? needed : kStreamLines;
    stream = steps * stream_lines;
  }
  for (int part = 0, t = 0; part < parts; ++part) {
    const int end = tiles * (part + 1) / parts;
    Fetch fetch = {part + 1 < parts ? v + end * v_tile : v,
                   {Share(u + block, lines, part, parts), Share(next.v, next.v_lines, part, parts),
                    Share(next.product, next.product_lines, part, parts)},
                   stream_lines};
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
template <int kTileRows, int kTileColumns>
void WinogradOutput(const float* products, ptrdiff_t product_position, ptrdiff_t product_tile,
                    const WinogradMaps& maps, int out_channels, int first_tile, int tiles, int channel,
                    int channels, const float* bias, bool relu) {
  for (int t = 0; t < tiles; ++t) {
    const TilePlace place = PlaceOf<kTileRows, kTileColumns>(maps, first_tile + t);
    float* corner = maps.out + place.image * maps.out_image + place.y * maps.out_row +
                    static_cast<ptrdiff_t>(place.x) * out_channels + channel;
    const float* from = products + t * product_tile;
    WithTransforms<kTileRows, kTileColumns>(place, [&]<class Row, class Column>() {
      constexpr int kRows = Row::kOutputs;
      constexpr int kColumns = Column::kOutputs;
      const int rows = maps.height - place.y < kRows ? maps.height - place.y : kRows;
      const int columns = maps.width - place.x < kColumns ? maps.width - place.x : kColumns;
      for (int c = 0; c < channels; c += kLanes) {
        Vector half[kRows][kColumns + 2];
        for (int x = 0; x < kColumns + 2; ++x) {
          Vector m[kRows + 2];
          for (int y = 0; y < kRows + 2; ++y) {
            const int position = Row::kPositions[y] * (kTileColumns + 2) + Column::kPositions[x];
            m[y] = Load(from + position * product_position + c);
          }
          Vector column[kRows];
          Row::Output(m, column);
          for (int y = 0; y < kRows; ++y) half[y][x] = column[y];
        }
        const Vector b = Load(bias + c);
        for (int y = 0; y < rows; ++y) {
          Vector row[kColumns];
          Column::Output(half[y], row);
          for (int x = 0; x < columns; ++x) {
            const Vector value = relu ? Relu(row[x] + b) : row[x] + b;
            float* to = corner + y * maps.out_row + static_cast<ptrdiff_t>(x) * out_channels + c;
            StoreChannels(to, value, channels - c);
          }
        }
      }
    });
  }
}

}  // namespace
}  // namespace repvgg::cpu
