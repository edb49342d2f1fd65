// GEMM on Hopper's tensor cores (TMA, mbarriers, wgmma) in fp16, bf16 or fp8 with fp32 accumulators: direct
// convolution as an implicit GEMM, and Winograd's batched products. The kernel is persistent and
// warp-specialised: a producer warpgroup issues TMA loads, two consumer warpgroups issue wgmma and store. Two
// threads of the producer are active: one loads pixels, once the previous kernel has written them, the other
// loads weights, which no kernel writes and which it therefore does not wait for.
//
// Tiling. A block processes tiles of kRows rows (pixels) x kColumns columns (output channels), columns
// innermost, so that concurrent blocks share their pixels in L2. Cooperative tiles: both consumers work on
// one tile, half of the rows each. Ping-pong tiles: the consumers alternate, and the epilogue of one overlaps
// the main loop of the other, which begins while the last products run: this helps short reductions. Tile
// widths divide the networks' channel counts exactly. A step of the reduction is 64 channels (128 in fp8) of
// one tap; taps vary fastest, within blocks of channels. Of a partial last block only the wgmma slices that
// hold channels are issued.
//
// Operands. Pixels are loaded in TMA's im2col mode, which handles borders, strides and image boundaries; each
// group has its own tensor map, so channels beyond the group are zero-filled. Winograd's inputs and all
// weights are loaded as tiled boxes. Both operands lie in shared memory as rows of 128 bytes with the
// 128-byte swizzle, the canonical K-major layout of wgmma.
//
// Clusters. Blocks can be paired: two tiles side by side share their pixels, two tiles one below the other
// share their weights (Tile::kMulticast). Each block loads half of the shared operand and multicasts it to
// both. The pair runs in lockstep: a stage is refilled once the consumer warps of both blocks have released
// it.
//
// Shared memory. kStages x (kRows + kColumns) x 128 bytes for the pipeline, plus 64 x kColumns x 2 bytes per
// consumer to stage TMA stores: 144 to 224 KB, hence one block per multiprocessor. A full and an empty
// mbarrier per stage, and one per consumer that orders ping-pong. Partial sums of a cluster, kRows x
// (kColumns + 8) x 4 bytes (18 to 136 KB), reuse the pipeline's stages; they fit all tiles but 256 x 160 and
// 256 x 192.
//
// Fp8. wgmma accumulates e4m3 products with about 14 bits (DeepSeek-V3 Technical Report, section 3.3.2), so
// the result of each step (four wgmmas) is added to fp32 accumulators in registers: twice the registers per
// output, so tiles are half the size. Weight columns are permuted such that a lane's four outputs of every
// sixteen are adjacent in the map (PairColumn).
//
// Small batches. When there are too few tiles to fill the GPU, the reduction can be split into parts of whole
// steps (split-K), each of them a tile of its own; sum_splits.cu adds the parts in order. Alternatively, the
// parts of a tile are computed by the blocks of a cluster (up to 8), one part per block: each block leaves
// its fp32 partial sums where the stages were, and then reduces a share of the tile through distributed
// shared memory, in the same order. The last layer can produce per-image sums over pixels instead of its map
// (gemm_sm90a_store.cuh).
//
// Registers. kRowBlocks x kColumns / 2 accumulators per consumer thread, in fp8 twice that: 192 at most.
// setmaxnreg leaves the producer 40 registers and gives consumers 232, or 24 and 240 for 256 x 192.
//
// Where time goes. Predicted, not measured: L2 bandwidth. A step of a 256 x 128 tile is 1024 clocks of wgmma
// for 48 KB of operands, that is 48 bytes per clock and multiprocessor, where an H100 may deliver 39
// (assuming 5120 bytes per clock in all, as on A100), and 96 of the 128 bytes per clock of shared memory (144
// if TMA's writes take theirs from the same 128, which no source says). 256
// x 96 tiles need 59 bytes per clock from L2, 128 x 192 need 53, 256 x 160 need 42, 256 x 192 need 37;
// multicast halves the traffic of the shared operand. Tiles of 64 columns just saturate shared memory
// bandwidth, and narrower ones limit wgmma to 86 % (48 columns) or 67 % (32 columns) of its rate.
//
// Limits. Compute capability 9.0 only (sm_90a). Depth and columns in multiples of 8 (16 in fp8), at most four
// groups. No Winograd and no split reductions in fp8.
#pragma once

#include "cuda/gemm_sm90a_store.cuh"
#include "cuda/launch.cuh"

namespace repvgg::cuda {

// The producer's loop for one operand.
template <typename Tile, Operand kOperand>
REPVGG_DEVICE void Produce(const GemmSm90a& gemm, unsigned char* shared, int rank, uint64_t* full,
                           uint64_t* empty) {
  [[maybe_unused]] constexpr int kTaps = TilePlaceSm90a<Tile>::kTaps;
  constexpr int kBlocks = kOperand == Tile::kMulticast ? Tile::kBlocks : 1;
  const int tiles = TilePlaceSm90a<Tile>::Count(gemm);
  const int part = kBlocks == 1 ? 0 : rank;  // This block's share of a multicast operand.
  Ring<Tile> ring;
  for (int tile = blockIdx.x / Tile::kBlocks; tile < tiles; tile += gridDim.x / Tile::kBlocks) {
    const TilePlaceSm90a<Tile> place(gemm, tile, rank);
    [[maybe_unused]] const int row = place.row + part * Tile::kInRows;
    [[maybe_unused]] const int line = row / gemm.out_width, image = line / gemm.out_height;
    [[maybe_unused]] const int x = (row - line * gemm.out_width) * gemm.stride - 1;
    [[maybe_unused]] const int y = (line - image * gemm.out_height) * gemm.stride - 1;
    [[maybe_unused]] const int group = place.batch % gemm.groups;
    for (int step = place.first_step; step < place.last_step; ++step) {
      unsigned char* const stage = shared + ring.stage * Tile::kStageBytes;
      uint64_t* const barrier = full + ring.stage;
      MbarrierWait(empty + ring.stage, ring.phase ^ 1);
      MbarrierArriveExpect(barrier, kOperand == Operand::kWeight ? Tile::kWeightBytes : Tile::kInBytes);
      if constexpr (kOperand == Operand::kWeight) {
        TmaLoad<kBlocks>(stage + Tile::kInBytes + part * Tile::kWeightColumns * 128, gemm.weight, 0,
                         place.column + part * Tile::kWeightColumns, step, place.batch, barrier);
      } else if constexpr (Tile::kConvolution) {
        const int tap = step % kTaps;
        TmaLoadPixels<kBlocks>(stage + part * Tile::kInRows * 128, gemm.in[place.batch],
                               step / kTaps * Tile::kStepChannels, x, y, image, tap % 3, tap / 3, barrier);
      } else {
        TmaLoad<kBlocks>(stage + part * Tile::kInRows * 128, gemm.in[0], step * Tile::kStepChannels, group,
                         row, place.batch / gemm.groups, barrier);
      }
      ring.Advance();
    }
  }
}

// One step of the reduction: kMmas wgmmas along the channels for each block of rows. Without kAccumulate the
// first of them overwrites the sums.
template <typename Tile, int kMmas, bool kAccumulate>
REPVGG_DEVICE void MultiplyStep(uint64_t a, uint64_t b, float (&sum)[Tile::kRowBlocks][Tile::kColumns / 2]) {
#pragma unroll
  for (int mma = 0; mma < kMmas; ++mma) {
#pragma unroll
    for (int m = 0; m < Tile::kRowBlocks; ++m) {
      const uint64_t rows = NextDescriptor(a + m * (64 * 128 / 16), mma), columns = NextDescriptor(b, mma);
      if (kAccumulate || mma > 0) {
        Wgmma<typename Tile::T, Tile::kColumns, true>(sum[m], rows, columns);
      } else {
        Wgmma<typename Tile::T, Tile::kColumns, false>(sum[m], rows, columns);
      }
    }
  }
  WgmmaCommit();
}

// Signals to the producer of every block that fills it that this warp has read the stage.
template <typename Tile>
REPVGG_DEVICE void ReleaseStage(uint64_t* empty) {
  const int lane = threadIdx.x % 32;
  if constexpr (Tile::kBlocks > 1) {
    if (lane < Tile::kBlocks) MbarrierArriveAt(empty, lane);
  } else {
    if (lane == 0) MbarrierArrive(empty);
  }
}

// `steps` steps of kMmas wgmmas each. When the last products of a tile (`last`) have been issued, and before
// they are waited for, the other ping-pong consumer may issue its own (`next` is its barrier), so that the
// tensor cores do not idle in between. No wgmma is in flight on return.
template <typename Tile, int kMmas>
REPVGG_DEVICE void MultiplySteps(int steps, bool last, uint32_t in, uint32_t weight, uint64_t* full,
                                 uint64_t* empty, uint64_t* next, Ring<Tile>& ring,
                                 float (&sum)[Tile::kRowBlocks][Tile::kColumns / 2]) {
  const auto hand_over = [&] {
    if (Tile::kPingPong && threadIdx.x % 32 == 0) MbarrierArrive(next);
  };
  [[maybe_unused]] int previous = 0;
#pragma unroll 1  // Unrolling multiplies the code size; ptxas of CUDA 12 then takes minutes.
  for (int step = 0; step < steps; ++step) {
    MbarrierWait(full + ring.stage, ring.phase);
    const uint64_t a = MatrixDescriptor(in + ring.stage * Tile::kStageBytes);
    const uint64_t b = MatrixDescriptor(weight + ring.stage * Tile::kStageBytes);
    if constexpr (Tile::kFp8) {
      // The other consumer's wgmmas overlap these additions.
      float part[Tile::kRowBlocks][Tile::kColumns / 2];
      WgmmaFence();
      MultiplyStep<Tile, kMmas, false>(a, b, part);
      if (last && step + 1 == steps) hand_over();
      WgmmaWait<0>();
      ReleaseStage<Tile>(empty + ring.stage);
#pragma unroll
      for (int m = 0; m < Tile::kRowBlocks; ++m) {
#pragma unroll
        for (int i = 0; i < Tile::kColumns / 2; ++i) sum[m][i] += part[m][i];
      }
    } else {
      WgmmaFence();
      MultiplyStep<Tile, kMmas, true>(a, b, sum);
      // The wgmmas of the previous step have completed: release its stage.
      WgmmaWait<1>();
      if (step > 0) ReleaseStage<Tile>(empty + previous);
      previous = ring.stage;
    }
    ring.Advance();
  }
  if constexpr (!Tile::kFp8) {
    if (last && steps > 0) hand_over();
    WgmmaWait<0>();
    if (steps > 0) ReleaseStage<Tile>(empty + previous);
  }
}

// This warpgroup's rows of one tile. The number of wgmmas in a step must be a compile-time constant:
// otherwise ptxas serialises them.
template <typename Tile>
REPVGG_DEVICE void Multiply(const GemmSm90a& gemm, const TilePlaceSm90a<Tile>& place, uint32_t shared,
                            int warpgroup, uint64_t* full, uint64_t* empty, uint64_t* next, Ring<Tile>& ring,
                            float (&sum)[Tile::kRowBlocks][Tile::kColumns / 2]) {
  const uint32_t in = shared + (Tile::kPingPong ? 0 : warpgroup * Tile::kRowBlocks * 64 * 128);
  const uint32_t weight = shared + Tile::kInBytes;
  // Not by the first products, with wgmma's scale-d: for sums that have no values yet ptxas of CUDA 12
  // serialises them (C7515).
#pragma unroll
  for (int m = 0; m < Tile::kRowBlocks; ++m) {
#pragma unroll
    for (int i = 0; i < Tile::kColumns / 2; ++i) sum[m][i] = 0;
  }
  // Steps from `filled` on belong to the partial last block of channels.
  const int mmas = DivideUp(gemm.depth, Tile::kMmaChannels);
  const int filled = mmas / 4 * TilePlaceSm90a<Tile>::kTaps;
  const int end = place.last_step < filled ? place.last_step : filled;
  const int whole = place.first_step < end ? end - place.first_step : 0, rest = place.steps() - whole;
  MultiplySteps<Tile, 4>(whole, rest == 0, in, weight, full, empty, next, ring, sum);
  switch (mmas % 4) {
    case 1:
      return MultiplySteps<Tile, 1>(rest, true, in, weight, full, empty, next, ring, sum);
    case 2:
      return MultiplySteps<Tile, 2>(rest, true, in, weight, full, empty, next, ring, sum);
    case 3:
      return MultiplySteps<Tile, 3>(rest, true, in, weight, full, empty, next, ring, sum);
  }
}

template <typename Tile>
REPVGG_DEVICE void Consume(const GemmSm90a& gemm, unsigned char* shared, int rank, int warpgroup,
                           uint64_t* full, uint64_t* empty) {
  const int tiles = TilePlaceSm90a<Tile>::Count(gemm);
  using Place = TilePlaceSm90a<Tile>;
  uint64_t* const order = empty + Tile::kStages;
  Ring<Tile> ring;
  const int clusters = gridDim.x / Tile::kBlocks;
  int stride = clusters, tile = blockIdx.x / Tile::kBlocks;
  unsigned phase = warpgroup ^ 1;
  if (Tile::kPingPong) {
    if (warpgroup == 1) ring.Skip(Place(gemm, tile, rank).steps()), tile += clusters;
    stride *= 2;
  }
  for (; tile < tiles; tile += stride, phase ^= 1) {
    const Place place(gemm, tile, rank);
    float sum[Tile::kRowBlocks][Tile::kColumns / 2];
    // Main loops strictly alternate. This is also required for correctness: a phase parity distinguishes only
    // adjacent phases, so that the other consumer's loads must have arrived before this one waits for its
    // own.
    if (Tile::kPingPong) MbarrierWait(order + warpgroup, phase);
    Multiply<Tile>(gemm, place, SharedAddress(shared), warpgroup, full, empty, order + (warpgroup ^ 1), ring,
                   sum);
    if (Tile::kPingPong) ring.Skip(Place(gemm, tile + clusters, rank).steps());
    if (Tile::kConvolution && !Tile::kFp8 && gemm.splits > 1) {
      StoreSums<Tile>(gemm, shared, warpgroup, place, sum);
    } else {
      Store<Tile>(gemm, shared, warpgroup, place, sum);
    }
  }
  if constexpr (Tile::kAddsParts) {
    if (AddsParts<Tile>(gemm)) {
      __syncwarp();
      ClusterBarrier();
      AddParts<Tile>(gemm, shared);
    }
  }
  if (threadIdx.x % 128 == 0) TmaStoreWait();
}

template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1) GemmSm90aKernel(const __grid_constant__ GemmSm90a gemm) {
  if constexpr (kSm90a) {
    unsigned char* const shared = SharedMemory();
    uint64_t* const full = reinterpret_cast<uint64_t*>(shared + Tile::kBarrierOffset);
    uint64_t* const empty = full + Tile::kStages;
    if (threadIdx.x == 0) {
      for (int stage = 0; stage < Tile::kStages; ++stage) {
        MbarrierInit(full + stage, 2);  // One arrival per operand's producer thread.
        MbarrierInit(empty + stage, Tile::kReaders);
      }
      for (int i = 0; i < Tile::kConsumers; ++i) MbarrierInit(empty + Tile::kStages + i, 4);
      MbarrierInitFence();
      for (int group = 0; group < (Tile::kConvolution ? gemm.groups : 1); ++group)
        PrefetchTensorMap(gemm.in[group]);
      PrefetchTensorMap(gemm.weight);
      PrefetchTensorMap(gemm.out);
      AllowNextKernel();
    }
    int rank = 0;
    if constexpr (Tile::kBlocks > 1) {
      rank = ClusterRank();
      __syncwarp();
      ClusterSetupBarrier();
    } else {
      __syncthreads();
    }
    const int warpgroup = WarpUniform(threadIdx.x / 128);
    if (warpgroup == Tile::kConsumers) {
      ReleaseRegisters<Tile::kProducerRegisters>();
      const int thread = threadIdx.x % 128;
      if (thread == 0) {
        WaitForPreviousKernel();
        Produce<Tile, Operand::kIn>(gemm, shared, rank, full, empty);
      } else if (thread == 32) {
        Produce<Tile, Operand::kWeight>(gemm, shared, rank, full, empty);
      }
      if (AddsParts<Tile>(gemm)) {
        __syncwarp();
        ClusterBarrier();  // Pairs with the consumers' ahead of AddParts.
      }
    } else {
      ClaimRegisters<Tile::kConsumerRegisters>();
      Consume<Tile>(gemm, shared, rank, warpgroup, full, empty);
    }
    if (Tile::kBlocks > 1 || AddsParts<Tile>(gemm)) {
      // No block may exit while others still signal its barriers or read its partial sums.
      __syncwarp();
      ClusterBarrier();
    }
  } else {
    Trap();
  }
}

template <typename Tile>
cudaError_t LaunchGemmSm90a(const GemmSm90a& gemm, cudaStream_t stream) {
  const int tiles = TilePlaceSm90a<Tile>::Count(gemm);
  if constexpr (Tile::kBlocks > 1) {
    return LaunchClusters(GemmSm90aKernel<Tile>, Tile::kBlocks, tiles, dim3(Tile::kThreads),
                          Tile::kSharedBytes, stream, gemm);
  } else if (gemm.map != nullptr) {
    return LaunchAs(CanOverlap(GemmSm90aKernel<Tile>), gemm.splits, GemmSm90aKernel<Tile>, dim3(tiles),
                    dim3(Tile::kThreads), Tile::kSharedBytes, stream, gemm);
  } else {
    int blocks = 0;  // Persistent: one block per multiprocessor.
    const auto error = DeviceAttribute(cudaDevAttrMultiProcessorCount, &blocks);
    if (error != cudaSuccess) return error;
    return LaunchOverlapped(GemmSm90aKernel<Tile>, dim3(blocks < tiles ? blocks : tiles),
                            dim3(Tile::kThreads), Tile::kSharedBytes, stream, gemm);
  }
}

// The host's table entry of a tile, and the tile of kRows x kColumns with kStages stages.
template <typename Tile>
constexpr GemmSm90aTile DescribeTile() {
  return {Tile::kRows,   Tile::kColumns,       Tile::kPingPong,     Tile::kMulticast, Tile::kSharedBytes,
          Tile::kInRows, Tile::kWeightColumns, Tile::kStoreColumns, Tile::kAddsParts, &LaunchGemmSm90a<Tile>};
}
template <Precision kPrecision, TmaMode kMode, Schedule kSchedule, int kRows, int kColumns, int kStages,
          Operand kMulticast = Operand::kNone>
constexpr GemmSm90aTile kGemmSm90aTile =
    DescribeTile<GemmTile<kPrecision, kMode, kSchedule, kRows, kColumns, kStages, kMulticast>>();

}  // namespace repvgg::cuda
