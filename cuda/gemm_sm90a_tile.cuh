// The tiles of gemm_sm90a.cuh: their sizes, which of them is which, and the ring of stages they are
// multiplied from.
#pragma once

#include "cuda/element.cuh"
#include "cuda/gemm_sm90a.h"
#include "cuda/ptx_sm90a.cuh"

namespace repvgg::cuda {

template <Precision kPrecisionOfMaps, bool kIsConvolution, int kRowBlocksOfConsumer, int kColumnsOfTile,
          int kStagesOfPipeline, bool kIsPingPong, Operand kMulticastOperand = Operand::kNone>
struct GemmTile {
  static constexpr Precision kPrecision = kPrecisionOfMaps;
  using T = Element<kPrecision>;
  static constexpr bool kConvolution = kIsConvolution;
  static constexpr int kRowBlocks = kRowBlocksOfConsumer;  // Of 64 rows, of one consumer.
  static constexpr int kColumns = kColumnsOfTile;
  static constexpr int kStages = kStagesOfPipeline;
  static constexpr bool kPingPong = kIsPingPong;
  static constexpr Operand kMulticast = kMulticastOperand;

  // Of the reduction: what fills a row of 128 bytes, and what one wgmma multiplies.
  static constexpr int kStepChannels = 128 / sizeof(T);
  static constexpr int kPartChannels = kStepChannels / 4;
  static constexpr bool kFp8 = sizeof(T) == 1;

  static constexpr int kConsumers = 2;
  static constexpr int kThreads = 128 * (kConsumers + 1);
  static constexpr int kRows = 64 * kRowBlocks * (kPingPong ? 1 : kConsumers);
  static constexpr int kInBytes = kRows * 128;
  static constexpr int kWeightBytes = kColumns * 128;
  static constexpr int kStageBytes = kInBytes + kWeightBytes;
  // Of a cluster, whose blocks have neighbouring tiles: one beside the other, or one below the other.
  static constexpr int kBlocks = kMulticast == Operand::kNone ? 1 : 2;
  static constexpr int kClusterRows = kRows * (kMulticast == Operand::kWeight ? kBlocks : 1);
  static constexpr int kClusterColumns = kColumns * (kMulticast == Operand::kIn ? kBlocks : 1);
  // Each of them loads its part of what they share, whole groups of eight swizzled rows.
  static constexpr int kInRows = kRows / (kMulticast == Operand::kIn ? kBlocks : 1);
  static constexpr int kWeightColumns = kColumns / (kMulticast == Operand::kWeight ? kBlocks : 1);
  static_assert(kInRows % 8 == 0 && kWeightColumns % 8 == 0);
  // Of a thread; the three warpgroups' together are what the launch gives them, 3 x 168.
  static constexpr int kProducerRegisters = kRowBlocks * kColumns > 320 && !kFp8 ? 24 : 40;
  static constexpr int kConsumerRegisters = (3 * 168 - kProducerRegisters) / 2;
  // Arrivals that empty a stage: one for each warp that reads it, here or in the other block.
  static constexpr int kReaders = (kPingPong ? 4 : 4 * kConsumers) * kBlocks;

  // Of a box: 16 bytes times the largest power of two that leaves no rest.
  static constexpr int kStoreChunks = kColumns / (16 / static_cast<int>(sizeof(T)));
  static constexpr int kStoreRowBytes = 16 * (kStoreChunks % 8 == 0   ? 8
                                              : kStoreChunks % 4 == 0 ? 4
                                              : kStoreChunks % 2 == 0 ? 2
                                                                      : 1);
  static constexpr int kStoreColumns = kStoreRowBytes / static_cast<int>(sizeof(T));
  static constexpr int kStoreBoxBytes = 64 * kStoreRowBytes;
  static constexpr int kStoreBytes = 64 * kColumns * 2;  // Of fp8: what is pooled is fp16.
  static constexpr int kStoreOffset = kStages * kStageBytes;
  static constexpr int kBarrierOffset = kStoreOffset + kConsumers * kStoreBytes;
  static constexpr int kSharedBytes = kBarrierOffset + (2 * kStages + kConsumers) * 8;
  // A part of a split reduction, in place of the stages, so that the blocks of a cluster can add theirs. A
  // row is eight floats longer than need be: a warp's rows lie in different banks.
  static constexpr int kPartPitch = kColumns + 8;
  static constexpr bool kAddsParts =
      kConvolution && !kFp8 && kBlocks == 1 && kRows * kPartPitch * 4 <= kStoreOffset;
  static_assert(kStageBytes % 1024 == 0 && kStoreBytes % 1024 == 0 && kSharedBytes <= 227 * 1024);
};

// What tile number `tile` of a cluster is for its block number `rank`. Of a split reduction, a part of one;
// the parts of one follow each other. A cluster's second tile may lie beyond the last row or column: it is
// computed like others, since the first one needs what it loads, and nothing of it is stored.
template <typename Tile>
struct TilePlaceSm90a {
  static constexpr int kTaps = Tile::kConvolution ? 9 : 1;

  int row, column, batch;
  int split = 0, first_step = 0, last_step;

  REPVGG_DEVICE TilePlaceSm90a(const GemmSm90a& gemm, int tile, int rank) {
    last_step = DivideUp(gemm.depth, Tile::kStepChannels) * kTaps;
    if constexpr (Tile::kConvolution) {
      split = tile % gemm.splits;
      tile /= gemm.splits;
      first_step = last_step * split / gemm.splits;
      last_step = last_step * (split + 1) / gemm.splits;
    }
    const int across = DivideUp(gemm.columns, Tile::kClusterColumns), columns = across * gemm.batches;
    if constexpr (Tile::kConvolution) {
      const int rest = tile % columns;
      row = tile / columns * Tile::kClusterRows;
      batch = rest / across;
      column = rest % across * Tile::kClusterColumns;
    } else {
      // Position after position: the weights of one stay in L2.
      const int of_batch = DivideUp(gemm.rows, Tile::kClusterRows) * across, rest = tile % of_batch;
      batch = tile / of_batch;
      row = rest / across * Tile::kClusterRows;
      column = rest % across * Tile::kClusterColumns;
    }
    if constexpr (Tile::kMulticast == Operand::kWeight) row += rank * Tile::kRows;
    if constexpr (Tile::kMulticast == Operand::kIn) column += rank * Tile::kColumns;
  }
  REPVGG_DEVICE int steps() const { return last_step - first_step; }

  // Of clusters.
  static constexpr int Count(const GemmSm90a& gemm) {
    return DivideUp(gemm.rows, Tile::kClusterRows) * DivideUp(gemm.columns, Tile::kClusterColumns) *
           gemm.batches * gemm.splits;
  }
};

// Whether the blocks of a cluster have the parts of one tile: each that one, and no other.
template <typename Tile>
REPVGG_DEVICE bool AddsParts(const GemmSm90a& gemm) {
  return Tile::kAddsParts && gemm.map != nullptr;
}

// The stage in use, and the parity of its turn.
template <typename Tile>
struct Ring {
  int stage = 0;
  unsigned turn = 0;

  REPVGG_DEVICE void Advance() {
    if (++stage == Tile::kStages) stage = 0, turn ^= 1;
  }
  REPVGG_DEVICE void Skip(int steps) {
    const int next = stage + steps;
    turn ^= next / Tile::kStages & 1;
    stage = next % Tile::kStages;
  }
};

}  // namespace repvgg::cuda
