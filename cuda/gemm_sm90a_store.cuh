// What gemm_sm90a.cuh does with the sums of a tile: 64 rows at a time through shared memory to TMA, or summed
// over the pixels of each image, or as they are.
#pragma once

#include "cuda/gemm_sm90a_tile.cuh"

namespace repvgg::cuda {

// Instead of 64 rows from `first_row` on, their sums over the rows of each image. In double: sums of fp16
// values are exact then, and those of bf16 values that differ by less than 2^39, so that it makes no
// difference where an image's rows are parted.
template <typename Tile, typename At>
REPVGG_DEVICE void StorePooled(const GemmSm90a& gemm, int first_row, const TilePlaceSm90a<Tile>& place,
                               At at) {
  using T = typename Tile::T;
  const int pixels = gemm.out_width * gemm.out_height, channels = gemm.columns * gemm.groups;
  const int end = gemm.rows - first_row < 64 ? gemm.rows - first_row : 64;
  for (int column = threadIdx.x % 128 * 2; column < Tile::kColumns; column += 256) {
    if (place.column + column >= gemm.columns) break;
    int image = first_row / pixels;
    for (int row = 0; row < end; ++image) {
      const int next = (image + 1) * pixels - first_row;
      double one = 0, other = 0;
      for (; row < end && row < next; ++row) {
        const uint32_t pair = *reinterpret_cast<const uint32_t*>(at(row, column / 8 * 8) + column % 8 * 2);
        one += ToFloat(T{static_cast<uint16_t>(pair)});
        other += ToFloat(T{static_cast<uint16_t>(pair >> 16)});
      }
      const int part = first_row / kPooledRows - image * pixels / kPooledRows;
      double* const to = gemm.pooled + (static_cast<size_t>(image) * PooledParts(pixels) + part) * channels +
                         place.batch * gemm.columns + place.column + column;
      to[0] = one, to[1] = other;
    }
  }
}

// The sums themselves, of one part of a reduction.
template <typename Tile>
REPVGG_DEVICE void StoreSums(const GemmSm90a& gemm, int warpgroup, const TilePlaceSm90a<Tile>& place,
                             const float (&sum)[Tile::kRowBlocks][Tile::kColumns / 2]) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  const int first_row = place.row + (Tile::kPingPong ? 0 : warpgroup * Tile::kRowBlocks * 64);
  const int channels = gemm.columns * gemm.groups;
  float* const to = gemm.sums + static_cast<size_t>(place.split) * gemm.rows * channels +
                    place.batch * gemm.columns + place.column + lane % 4 * 2;
#pragma unroll
  for (int m = 0; m < Tile::kRowBlocks; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + m * 64 + warp * 16 + half * 8 + lane / 4;
      if (row >= gemm.rows) continue;
#pragma unroll
      for (int block = 0; block < Tile::kColumns / 8; ++block) {
        if (place.column + block * 8 >= gemm.columns) continue;
        *reinterpret_cast<float2*>(to + static_cast<size_t>(row) * channels + block * 8) =
            make_float2(sum[m][block * 4 + half * 2], sum[m][block * 4 + half * 2 + 1]);
      }
    }
  }
}

// Bias and ReLU, then 64 rows at a time through shared memory.
template <typename Tile>
REPVGG_DEVICE void Store(const GemmSm90a& gemm, unsigned char* shared, int warpgroup,
                         const TilePlaceSm90a<Tile>& place,
                         const float (&sum)[Tile::kRowBlocks][Tile::kColumns / 2]) {
  using T = typename Tile::T;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  const bool issuer = threadIdx.x % 128 == 0;
  unsigned char* const own = shared + Tile::kStoreOffset + warpgroup * Tile::kStoreBytes;
  const int first_row = place.row + (Tile::kPingPong ? 0 : warpgroup * Tile::kRowBlocks * 64);
  const float* const bias =
      gemm.bias == nullptr ? nullptr : gemm.bias + place.batch * gemm.columns + place.column;
  const auto pair = [&](const float (&from)[Tile::kColumns / 2], int block, int half) {
    float one = from[block * 4 + half * 2], other = from[block * 4 + half * 2 + 1];
    const int column = block * 8 + lane % 4 * 2;
    if (bias != nullptr && place.column + column < gemm.columns) {
      const float2 two = *reinterpret_cast<const float2*>(bias + column);
      one += two.x, other += two.y;
    }
    if (gemm.relu) one = Relu(one), other = Relu(other);
    return Pack<T>(one, other);
  };
  // Where this lane's row of 8 columns lies: rows of one box follow each other, boxes too.
  const auto at = [&](int row, int column) {
    const int box = column / Tile::kStoreColumns, byte = column % Tile::kStoreColumns * 2;
    return own + box * Tile::kStoreBoxBytes +
           SwizzledByte(row * Tile::kStoreColumns * 2 + byte, Tile::kStoreColumns * 2);
  };
#pragma unroll
  for (int m = 0; m < Tile::kRowBlocks; ++m) {
    // What was stored before has left.
    if (issuer) TmaStoreWaitRead();
    NamedBarrier(1 + warpgroup, 128);
    const int row = warp * 16 + lane % 16;
#pragma unroll
    for (int block = 0; block + 1 < Tile::kColumns / 8; block += 2) {
      StMatrixX4(at(row, (block + lane / 16) * 8), pair(sum[m], block, 0), pair(sum[m], block, 1),
                 pair(sum[m], block + 1, 0), pair(sum[m], block + 1, 1));
    }
    if constexpr (Tile::kColumns / 8 % 2 == 1) {
      constexpr int kLast = Tile::kColumns / 8 - 1;
      StMatrixX2(at(row, kLast * 8), pair(sum[m], kLast, 0), pair(sum[m], kLast, 1));
    }
    if (Tile::kConvolution && gemm.pooled != nullptr) {
      NamedBarrier(1 + warpgroup, 128);
      StorePooled<Tile>(gemm, first_row + m * 64, place, at);
      continue;
    }
    FenceForTma();
    NamedBarrier(1 + warpgroup, 128);
    if (issuer) {
      for (int box = 0; box < Tile::kColumns / Tile::kStoreColumns; ++box) {
        TmaStore(gemm.out, place.column + box * Tile::kStoreColumns, first_row + m * 64,
                 place.batch % gemm.groups, place.batch / gemm.groups, own + box * Tile::kStoreBoxBytes);
      }
      TmaStoreCommit();
    }
  }
}

}  // namespace repvgg::cuda
