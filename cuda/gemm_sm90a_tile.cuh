// Tile shapes of gemm_sm90a.cuh, the tile scheduler, and the state of the pipeline.
#pragma once

#include "cuda/element.cuh"
#include "cuda/gemm_sm90a.h"
#include "cuda/ptx_sm90a.cuh"

namespace repvgg::cuda {

// How the rows of the left operand are loaded: the windows of a convolution, or rows of a matrix.
enum class TmaMode { kIm2col, kTiled };

// Whether the two consumers share a tile or alternate.
enum class Schedule { kCooperative, kPingPong };

template <Precision kPrecisionOfMaps, TmaMode kMode, Schedule kSchedule, int kRowsOfTile, int kColumnsOfTile,
          int kStagesOfPipeline, Operand kMulticastOperand>
struct GemmTile {
  static constexpr Precision kPrecision = kPrecisionOfMaps;
  using T = Element<kPrecision>;
  static constexpr bool kConvolution = kMode == TmaMode::kIm2col;
  static constexpr bool kPingPong = kSchedule == Schedule::kPingPong;
  static constexpr int kRows = kRowsOfTile;
  static constexpr int kColumns = kColumnsOfTile;
  static constexpr int kStages = kStagesOfPipeline;
  static constexpr Operand kMulticast = kMulticastOperand;

  // Depth of a step, a 128-byte row of either operand, and of one wgmma.
  static constexpr int kStepChannels = 128 / sizeof(T);
  static constexpr int kMmaChannels = kStepChannels / 4;
  static constexpr bool kFp8 = sizeof(T) == 1;

  static constexpr int kConsumers = 2;
  static constexpr int kThreads = 128 * (kConsumers + 1);
  static constexpr int kRowBlocks = kRows / 64 / (kPingPong ? 1 : kConsumers);  // Of 64, per consumer.
  static_assert(kRows == 64 * kRowBlocks * (kPingPong ? 1 : kConsumers));
  static constexpr int kInBytes = kRows * 128;
  static constexpr int kWeightBytes = kColumns * 128;
  static constexpr int kStageBytes = kInBytes + kWeightBytes;
  // A cluster covers two adjacent tiles: side by side (multicast pixels) or one below the other (weights).
  static constexpr int kBlocks = kMulticast == Operand::kNone ? 1 : 2;
  static constexpr int kClusterRows = kRows * (kMulticast == Operand::kWeight ? kBlocks : 1);
  static constexpr int kClusterColumns = kColumns * (kMulticast == Operand::kIn ? kBlocks : 1);
  // Each block loads its share of the multicast operand, in whole groups of eight swizzled rows.
  static constexpr int kInRows = kRows / (kMulticast == Operand::kIn ? kBlocks : 1);
  static constexpr int kWeightColumns = kColumns / (kMulticast == Operand::kWeight ? kBlocks : 1);
  static_assert(kInRows % 8 == 0 && kWeightColumns % 8 == 0);
  // Per thread, for setmaxnreg; the three warpgroups together keep the 3 x 168 that the launch allocates.
  static constexpr int kProducerRegisters = kRowBlocks * kColumns > 320 && !kFp8 ? 24 : 40;
  static constexpr int kConsumerRegisters = (3 * 168 - kProducerRegisters) / 2;
  // Arrivals that complete an empty barrier: one per consumer warp that reads the stage, in either block.
  static constexpr int kReaders = (kPingPong ? 4 : 4 * kConsumers) * kBlocks;

  // A box of a TMA store: the widest swizzled row, 16 to 128 bytes, that divides the tile's row.
  static constexpr int kStoreChunks = kColumns / (16 / static_cast<int>(sizeof(T)));
  static constexpr int kStoreRowBytes = 16 * (kStoreChunks % 8 == 0   ? 8
                                              : kStoreChunks % 4 == 0 ? 4
                                              : kStoreChunks % 2 == 0 ? 2
                                                                      : 1);
  static constexpr int kStoreColumns = kStoreRowBytes / static_cast<int>(sizeof(T));
  static constexpr int kStoreBoxBytes = 64 * kStoreRowBytes;
  static constexpr int kStoreBytes = 64 * kColumns * 2;  // In fp8 as well: it pools fp16 values.
  static constexpr int kStoreOffset = kStages * kStageBytes;
  static constexpr int kBarrierOffset = kStoreOffset + kConsumers * kStoreBytes;
  static constexpr int kSharedBytes = kBarrierOffset + (2 * kStages + kConsumers) * 8;
  // The partial sums of a cluster's block, in place of the stages. The pitch, eight floats more than a row,
  // keeps the rows that a warp stores in different banks (40 columns: two-way conflicts).
  static constexpr int kPartPitch = kColumns + 8;
  static constexpr bool kAddsParts =
      kConvolution && !kFp8 && kBlocks == 1 && kRows * kPartPitch * 4 <= kStoreOffset;
  static_assert(kStageBytes % 1024 == 0 && kStoreBytes % 1024 == 0 && kSharedBytes <= 227 * 1024);
};

// The tile scheduler: where tile `tile` of the cluster's block `rank` lies. With a split reduction, a tile is
// one part, and the parts of an output tile follow each other. The second tile of a cluster may lie beyond
// the last row or column: it is computed nevertheless, since the first one needs its loads, and TMA clips its
// stores.
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
      // Positions outermost: the weights of one stay in L2.
      const int of_batch = DivideUp(gemm.rows, Tile::kClusterRows) * across, rest = tile % of_batch;
      batch = tile / of_batch;
      row = rest / across * Tile::kClusterRows;
      column = rest % across * Tile::kClusterColumns;
    }
    if constexpr (Tile::kMulticast == Operand::kWeight) row += rank * Tile::kRows;
    if constexpr (Tile::kMulticast == Operand::kIn) column += rank * Tile::kColumns;
  }
  REPVGG_DEVICE int steps() const { return last_step - first_step; }

  // The number of clusters' tiles.
  static constexpr int Count(const GemmSm90a& gemm) {
    return DivideUp(gemm.rows, Tile::kClusterRows) * DivideUp(gemm.columns, Tile::kClusterColumns) *
           gemm.batches * gemm.splits;
  }
};

// Whether each block of a cluster computes one part of the same output tile, and nothing else.
template <typename Tile>
REPVGG_DEVICE bool AddsParts(const GemmSm90a& gemm) {
  return Tile::kAddsParts && gemm.map != nullptr;
}

// The current stage of the pipeline and its phase parity (CUTLASS's PipelineState).
template <typename Tile>
struct Ring {
  int stage = 0;
  unsigned phase = 0;

  REPVGG_DEVICE void Advance() {
    if (++stage == Tile::kStages) stage = 0, phase ^= 1;
  }
  REPVGG_DEVICE void Skip(int steps) {
    const int next = stage + steps;
    phase ^= next / Tile::kStages & 1;
    stage = next % Tile::kStages;
  }
};

}  // namespace repvgg::cuda
