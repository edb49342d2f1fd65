// Epilogues of gemm_sm90a.cuh: the map, staged 64 rows at a time in shared memory for TMA stores; per-image
// sums over pixels; or the fp32 partial sums of a split reduction.
#pragma once

#include <type_traits>

#include "cuda/gemm_sm90a_tile.cuh"
#include "cuda/sum_parts.cuh"

namespace repvgg::cuda {

// The map's column of a lane's first accumulator in 8-column block `block`; its second is the next column. In
// fp8 a lane owns columns 4t to 4t + 3 of each sixteen, two from each block of eight: exactly the 32-bit word
// that stmatrix stores for lane t. PackDirectSm90a permutes the weights' columns accordingly.
template <typename Tile>
REPVGG_DEVICE int PairColumn(int block, int lane) {
  return Tile::kFp8 ? block / 2 * 16 + lane % 4 * 4 + block % 2 * 2 : block * 8 + lane % 4 * 2;
}

// Where a warpgroup's 64 rows are staged for TMA stores: boxes are contiguous, and so are the rows of a box.
template <typename Tile>
struct StagedRows {
  unsigned char* bytes;

  // The address of 16-byte chunk `chunk` of a row.
  REPVGG_DEVICE unsigned char* At(int row, int chunk) const {
    constexpr int kChunks = Tile::kStoreRowBytes / 16;
    return bytes + chunk / kChunks * Tile::kStoreBoxBytes +
           SwizzledByte(row * Tile::kStoreRowBytes + chunk % kChunks * 16, Tile::kStoreRowBytes);
  }

  // Stages kChunks chunks of each row. `words(chunk)` are this lane's in the upper and the lower eight of its
  // warp's sixteen rows.
  template <int kChunks, typename Words>
  REPVGG_DEVICE void Put(Words words) const {
    const int lane = threadIdx.x % 32, row = threadIdx.x / 32 % 4 * 16 + lane % 16;
#pragma unroll
    for (int chunk = 0; chunk + 1 < kChunks; chunk += 2) {
      const uint2 one = words(chunk), other = words(chunk + 1);
      StMatrixX4(At(row, chunk + lane / 16), one.x, one.y, other.x, other.y);
    }
    if constexpr (kChunks % 2 == 1) {
      const uint2 one = words(kChunks - 1);
      StMatrixX2(At(row, kChunks - 1), one.x, one.y);
    }
  }
};

// Scale, bias and ReLU of a tile's sums.
template <typename Tile>
struct Finish {
  const float *scale, *bias;  // Of the tile's first column; the bias may be null, the scale is for fp8.
  bool relu;
  int columns;  // Of the tile that the map has.

  // This lane's words of 8-column block `block`: of its upper row, and of its lower one.
  template <typename To>
  REPVGG_DEVICE uint2 Words(const float (&sum)[Tile::kColumns / 2], int block) const {
    float2 upper = make_float2(sum[block * 4], sum[block * 4 + 1]);
    float2 lower = make_float2(sum[block * 4 + 2], sum[block * 4 + 3]);
    const int column = PairColumn<Tile>(block, threadIdx.x % 32);
    if (bias != nullptr && column < columns) {
      if constexpr (Tile::kFp8) {
        const float2 two = *reinterpret_cast<const float2*>(scale + column);
        upper.x *= two.x, upper.y *= two.y, lower.x *= two.x, lower.y *= two.y;
      }
      const float2 two = *reinterpret_cast<const float2*>(bias + column);
      upper.x += two.x, upper.y += two.y, lower.x += two.x, lower.y += two.y;
    }
    if (relu) {
      upper = make_float2(Relu(upper.x), Relu(upper.y)), lower = make_float2(Relu(lower.x), Relu(lower.y));
    }
    return make_uint2(Pack<To>(upper.x, upper.y), Pack<To>(lower.x, lower.y));
  }

  // The same in fp8, which has two blocks of 8 columns in a chunk of 16 bytes.
  REPVGG_DEVICE uint2 Fp8Words(const float (&sum)[Tile::kColumns / 2], int chunk) const {
    const uint2 one = Words<typename Tile::T>(sum, 2 * chunk);
    const uint2 other = Words<typename Tile::T>(sum, 2 * chunk + 1);
    return make_uint2(one.x | other.x << 16, one.y | other.y << 16);
  }
};

// Writes the sums of 64 rows, from `first_row` on, over the pixels of each image. In double precision sums of
// fp16 values are exact, and so are those of bf16 values whose magnitudes differ by less than 2^39: results
// do not depend on how an image's rows fall into parts.
template <typename Tile, typename T>
REPVGG_DEVICE void StorePooled(const GemmSm90a& gemm, int first_row, const TilePlaceSm90a<Tile>& place,
                               const StagedRows<Tile>& staged) {
  const int pixels = gemm.out_width * gemm.out_height, channels = gemm.columns * gemm.groups;
  const int end = gemm.rows - first_row < 64 ? gemm.rows - first_row : 64;
  for (int i = threadIdx.x % 128; i < Tile::kColumns / 2; i += 128) {
    const int column = PairColumn<Tile>(i / 4, i);
    if (place.column + column >= gemm.columns) continue;
    int image = first_row / pixels;
    for (int row = 0; row < end; ++image) {
      const int next = (image + 1) * pixels - first_row;
      double one = 0, other = 0;
      for (; row < end && row < next; ++row) {
        const float2 two = Unpack<T>(*reinterpret_cast<const uint32_t*>(staged.At(row, i / 4) + i % 4 * 4));
        one += two.x, other += two.y;
      }
      const int part = first_row / kPooledRows - image * pixels / kPooledRows;
      double* const to = gemm.pooled + (static_cast<size_t>(image) * PooledParts(pixels) + part) * channels +
                         place.batch * gemm.columns + place.column + column;
      to[0] = one, to[1] = other;
    }
  }
}

// The fp32 partial sums of a split reduction: to global memory, or to shared memory for AddParts.
template <typename Tile>
REPVGG_DEVICE void StoreSums(const GemmSm90a& gemm, unsigned char* shared, int warpgroup,
                             const TilePlaceSm90a<Tile>& place,
                             const float (&sum)[Tile::kRowBlocks][Tile::kColumns / 2]) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  const int first_row = Tile::kPingPong ? 0 : warpgroup * Tile::kRowBlocks * 64;
  const bool in_cluster = AddsParts<Tile>(gemm);
  const int channels = gemm.columns * gemm.groups, pitch = in_cluster ? Tile::kPartPitch : channels;
  float* const tile = in_cluster ? reinterpret_cast<float*>(shared)
                                 : gemm.sums + place.column + place.batch * gemm.columns +
                                       (static_cast<size_t>(place.split) * gemm.rows + place.row) * channels;
  float* const to = tile + lane % 4 * 2;
  // Every load has been waited for; after this barrier all warps have also finished reading the stages.
  if (in_cluster) NamedBarrier(1 + Tile::kConsumers, (Tile::kPingPong ? 1 : Tile::kConsumers) * 128);
#pragma unroll
  for (int m = 0; m < Tile::kRowBlocks; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + m * 64 + warp * 16 + half * 8 + lane / 4;
      if (place.row + row >= gemm.rows) continue;
#pragma unroll
      for (int block = 0; block < Tile::kColumns / 8; ++block) {
        if (place.column + block * 8 >= gemm.columns) continue;
        *reinterpret_cast<float2*>(to + static_cast<size_t>(row) * pitch + block * 8) =
            make_float2(sum[m][block * 4 + half * 2], sum[m][block * 4 + half * 2 + 1]);
      }
    }
  }
}

// Reduces this block's share of the tile whose parts the blocks of its cluster hold.
template <typename Tile>
REPVGG_DEVICE void AddParts(const GemmSm90a& gemm, const unsigned char* shared) {
  using T = typename Tile::T;
  const TilePlaceSm90a<Tile> place(gemm, blockIdx.x, 0);
  const int channels = gemm.columns * gemm.groups, rows = gemm.rows - place.row;
  const int columns = gemm.columns - place.column;
  const int fours = (columns < Tile::kColumns ? columns : Tile::kColumns) / 4;
  const int all = (rows < Tile::kRows ? rows : Tile::kRows) * fours;
  const int end = all * (place.split + 1) / gemm.splits;
  for (int i = all * place.split / gemm.splits + threadIdx.x; i < end; i += Tile::kConsumers * 128) {
    const int row = i / fours, channel = place.batch * gemm.columns + place.column + i % fours * 4;
    const float4* const from =
        reinterpret_cast<const float4*>(shared) + row * (Tile::kPartPitch / 4) + i % fours;
    StoreSumOfParts(static_cast<T*>(gemm.map) + static_cast<size_t>(place.row + row) * channels + channel,
                    gemm.bias + channel, gemm.relu, gemm.splits,
                    [&](int block) { return LoadFromBlock(from, block); });
  }
}

// Scale, bias and ReLU, then 64 rows at a time through shared memory to a TMA store or to StorePooled.
template <typename Tile>
REPVGG_DEVICE void Store(const GemmSm90a& gemm, unsigned char* shared, int warpgroup,
                         const TilePlaceSm90a<Tile>& place,
                         const float (&sum)[Tile::kRowBlocks][Tile::kColumns / 2]) {
  using Wide = std::conditional_t<Tile::kFp8, Half, typename Tile::T>;  // The type that is pooled.
  const bool issuer = threadIdx.x % 128 == 0;
  const bool pooled = Tile::kConvolution && gemm.pooled != nullptr;
  const StagedRows<Tile> staged{shared + Tile::kStoreOffset + warpgroup * Tile::kStoreBytes};
  const int first_channel = place.batch * gemm.columns + place.column;
  const Finish<Tile> finish{gemm.scale + first_channel,
                            gemm.bias == nullptr ? nullptr : gemm.bias + first_channel, gemm.relu,
                            gemm.columns - place.column};
  const int first_row = place.row + (Tile::kPingPong ? 0 : warpgroup * Tile::kRowBlocks * 64);
#pragma unroll
  for (int m = 0; m < Tile::kRowBlocks; ++m) {
    // The previous TMA store has finished reading the staging buffer.
    if (issuer) TmaStoreWaitRead();
    NamedBarrier(1 + warpgroup, 128);
    if (Tile::kFp8 && !pooled) {
      staged.template Put<Tile::kStoreChunks>([&](int chunk) { return finish.Fp8Words(sum[m], chunk); });
    } else {
      staged.template Put<Tile::kColumns / 8>(
          [&](int chunk) { return finish.template Words<Wide>(sum[m], chunk); });
    }
    if (pooled) {
      NamedBarrier(1 + warpgroup, 128);
      StorePooled<Tile, Wide>(gemm, first_row + m * 64, place, staged);
      continue;
    }
    FenceForTma();
    NamedBarrier(1 + warpgroup, 128);
    if (issuer) {
      for (int box = 0; box < Tile::kColumns / Tile::kStoreColumns; ++box) {
        TmaStore(gemm.out, place.column + box * Tile::kStoreColumns, place.batch % gemm.groups,
                 first_row + m * 64, place.batch / gemm.groups, staged.bytes + box * Tile::kStoreBoxBytes);
      }
      TmaStoreCommit();
    }
  }
}

}  // namespace repvgg::cuda
