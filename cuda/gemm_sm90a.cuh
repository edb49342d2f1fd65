// Matrix products on Hopper's tensor cores, fp16, bf16 or fp8 with sums in fp32: the direct convolution as an
// implicit GEMM, and Winograd's batched products. A persistent, warp-specialised kernel: one warpgroup only
// asks the tensor memory accelerator (TMA) for operands, two multiply (wgmma) and store. One of its threads
// asks for pixels, behind the kernel that writes them, another for weights, which are there before that.
//
// Tiling. A block takes tiles of kRows rows (pixels) x kColumns columns (channels out) in turn, columns
// innermost, so that blocks at work at the same time share their pixels in L2. Cooperative: both consumers
// share a tile, half of its rows each. Ping-pong: they take tiles in turn, and one's epilogue runs under the
// other's products; better for short reductions. Column widths are exact divisors of the networks' channels.
// A step of the reduction is 64 channels (128 of fp8) of one tap, taps inside blocks of channels; of the last
// block only the quarters that exist are multiplied.
//
// Operands. Pixels come by TMA's im2col mode, which knows about borders, strides, and the step from one image
// to the next; groups are maps of their own, so channels beyond a group are zeros. Weights come as boxes of
// kColumns rows. Both land in rows of 128 swizzled bytes, wgmma's own layout.
//
// Clusters. Blocks can come in pairs whose tiles lie beside each other and have their pixels in common, or
// below each other with common weights (Tile::kMulticast). Of what they share each loads half, for both. They
// go through the same steps at the same time; a stage is filled again once the warps of both have read it.
//
// Shared memory. kStages x (kRows + kColumns) x 128 bytes, and for each consumer 64 x kColumns x 2 bytes,
// from where TMA stores: up to 224 KB, one block on a multiprocessor. Full and empty barriers for each stage,
// and one for each consumer's turn. Parts that a cluster adds, kRows x (kColumns + 8) x 4 bytes, 18 to 136
// KB, have to fit where the stages are: all but 256 x 160 and 256 x 192 do.
//
// Fp8. wgmma sums products of e4m3 with about 14 bits (DeepSeek-V3 Technical Report, section 3.3.2), so the
// sums of each step, four wgmmas, are added to others in registers; twice the sums, half the tile. Its
// columns are ordered so that a lane's four of sixteen are neighbours in the map (PairColumn).
//
// Small batches. Few tiles leave most multiprocessors without work, so a reduction can be split into parts of
// whole steps, each of them a tile of its own; sum_splits.cu adds them in order. Or the parts of a tile are
// the blocks of a cluster, up to 8: each does its part and nothing else, leaves it in fp32 where its stages
// were, and adds a share of the tile's pixels from all of them, in the same order. The last layer can leave
// sums over the pixels of each image instead of its map (gemm_sm90a_store.cuh).
//
// Registers. kRowBlocks x kColumns / 2 sums, 192 at most, of fp8 with those of a step; setmaxnreg leaves the
// producer 40 and gives consumers 232, or 24 and 240 where those need them.
//
// Where time goes. Expected, not measured: L2. With 256 x 128 tiles a step has 1024 clocks of products for
// 48 KB, 48 bytes a clock and multiprocessor where an H100 may have 39 (if its L2 gives 5120 bytes a clock,
// as an A100's does), and 96 of 128 bytes a clock from shared memory. 256 x 96 tiles take 59 bytes a clock,
// 128 x 192 take 53, 256 x 160 take 42, 256 x 192 take 37; sharing an operand saves half of it. Below 96
// columns reading the operands from shared memory limits wgmma (columns 64: 100 %, 48: 86 %, 32: 67 % of its
// rate).
//
// Limits. Compute capability 9.0 exactly. Depth and columns in multiples of 8 (16 of fp8), at most four
// groups; of fp8 neither Winograd nor split reductions.
#pragma once

#include "cuda/gemm_sm90a_store.cuh"
#include "cuda/launch.cuh"

namespace repvgg::cuda {

// Asks for one operand of each step.
template <typename Tile, Operand kOperand>
REPVGG_DEVICE void Produce(const GemmSm90a& gemm, unsigned char* shared, int rank, uint64_t* full,
                           uint64_t* empty) {
  [[maybe_unused]] constexpr int kTaps = TilePlaceSm90a<Tile>::kTaps;
  constexpr int kBlocks = kOperand == Tile::kMulticast ? Tile::kBlocks : 1;
  const int tiles = TilePlaceSm90a<Tile>::Count(gemm);
  const int part = kBlocks == 1 ? 0 : rank;  // Of what the blocks of a cluster share.
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
      MbarrierWait(empty + ring.stage, ring.turn ^ 1);
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

// One step, of which kParts parts of channels are multiplied. With kAdds sums go on, else they begin anew.
template <typename Tile, int kParts, bool kAdds>
REPVGG_DEVICE void MultiplyStep(uint64_t a, uint64_t b, float (&sum)[Tile::kRowBlocks][Tile::kColumns / 2]) {
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
#pragma unroll
    for (int m = 0; m < Tile::kRowBlocks; ++m) {
      const uint64_t rows = NextDescriptor(a + m * (64 * 128 / 16), part), columns = NextDescriptor(b, part);
      if (kAdds || part > 0) {
        Wgmma<typename Tile::T, Tile::kColumns, true>(sum[m], rows, columns);
      } else {
        Wgmma<typename Tile::T, Tile::kColumns, false>(sum[m], rows, columns);
      }
    }
  }
  WgmmaCommit();
}

// What this warp has read of a stage may be filled again, by whichever block does so.
template <typename Tile>
REPVGG_DEVICE void ReleaseStage(uint64_t* empty) {
  const int lane = threadIdx.x % 32;
  if constexpr (Tile::kBlocks > 1) {
    if (lane < Tile::kBlocks) MbarrierArriveAt(empty, lane);
  } else {
    if (lane == 0) MbarrierArrive(empty);
  }
}

// `steps` steps of which kParts parts of channels are multiplied. None is in flight afterwards.
template <typename Tile, int kParts>
REPVGG_DEVICE void MultiplySteps(int steps, uint32_t in, uint32_t weight, uint64_t* full, uint64_t* empty,
                                 Ring<Tile>& ring, float (&sum)[Tile::kRowBlocks][Tile::kColumns / 2]) {
  [[maybe_unused]] int previous = 0;
#pragma unroll 1  // Unrolled it is several times the code, which ptxas of CUDA 12 takes minutes for.
  for (int step = 0; step < steps; ++step) {
    MbarrierWait(full + ring.stage, ring.turn);
    const uint64_t a = MatrixDescriptor(in + ring.stage * Tile::kStageBytes);
    const uint64_t b = MatrixDescriptor(weight + ring.stage * Tile::kStageBytes);
    if constexpr (Tile::kFp8) {
      // The other consumer's products run under these additions.
      float part[Tile::kRowBlocks][Tile::kColumns / 2];
      WgmmaFence();
      MultiplyStep<Tile, kParts, false>(a, b, part);
      WgmmaWait<0>();
      ReleaseStage<Tile>(empty + ring.stage);
#pragma unroll
      for (int m = 0; m < Tile::kRowBlocks; ++m) {
#pragma unroll
        for (int i = 0; i < Tile::kColumns / 2; ++i) sum[m][i] += part[m][i];
      }
    } else {
      WgmmaFence();
      MultiplyStep<Tile, kParts, true>(a, b, sum);
      // The last step's products are done; its stage can be filled again.
      WgmmaWait<1>();
      if (step > 0) ReleaseStage<Tile>(empty + previous);
      previous = ring.stage;
    }
    ring.Advance();
  }
  if constexpr (!Tile::kFp8) {
    WgmmaWait<0>();
    if (steps > 0) ReleaseStage<Tile>(empty + previous);
  }
}

// The products of one tile's rows of this warpgroup. How many parts a step has must be known at compile
// time: otherwise ptxas makes every wgmma wait for the one before.
template <typename Tile>
REPVGG_DEVICE void Multiply(const GemmSm90a& gemm, const TilePlaceSm90a<Tile>& place, uint32_t shared,
                            int warpgroup, uint64_t* full, uint64_t* empty, Ring<Tile>& ring,
                            float (&sum)[Tile::kRowBlocks][Tile::kColumns / 2]) {
  const uint32_t in = shared + (Tile::kPingPong ? 0 : warpgroup * Tile::kRowBlocks * 64 * 128);
  const uint32_t weight = shared + Tile::kInBytes;
#pragma unroll
  for (int m = 0; m < Tile::kRowBlocks; ++m) {
#pragma unroll
    for (int i = 0; i < Tile::kColumns / 2; ++i) sum[m][i] = 0;
  }
  // Behind these, channels do not fill the four parts of a step.
  const int parts = DivideUp(gemm.depth, Tile::kPartChannels);
  const int filled = parts / 4 * TilePlaceSm90a<Tile>::kTaps;
  const int end = place.last_step < filled ? place.last_step : filled;
  const int whole = place.first_step < end ? end - place.first_step : 0, rest = place.steps() - whole;
  MultiplySteps<Tile, 4>(whole, in, weight, full, empty, ring, sum);
  switch (parts % 4) {
    case 1:
      return MultiplySteps<Tile, 1>(rest, in, weight, full, empty, ring, sum);
    case 2:
      return MultiplySteps<Tile, 2>(rest, in, weight, full, empty, ring, sum);
    case 3:
      return MultiplySteps<Tile, 3>(rest, in, weight, full, empty, ring, sum);
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
  unsigned turn = warpgroup ^ 1;
  if (Tile::kPingPong) {
    if (warpgroup == 1) ring.Skip(Place(gemm, tile, rank).steps()), tile += clusters;
    stride *= 2;
  }
  for (; tile < tiles; tile += stride, turn ^= 1) {
    const Place place(gemm, tile, rank);
    float sum[Tile::kRowBlocks][Tile::kColumns / 2];
    // One's products after the other's: also because the parity of a stage tells its turn from the next only.
    if (Tile::kPingPong) MbarrierWait(order + warpgroup, turn);
    Multiply<Tile>(gemm, place, SharedAddress(shared), warpgroup, full, empty, ring, sum);
    if (Tile::kPingPong) {
      if (threadIdx.x % 32 == 0) MbarrierArrive(order + (warpgroup ^ 1));
      ring.Skip(Place(gemm, tile + clusters, rank).steps());
    }
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
        MbarrierInit(full + stage, 2);  // Either operand's producer.
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
        ClusterBarrier();  // The consumers' as well, ahead of AddParts.
      }
    } else {
      ClaimRegisters<Tile::kConsumerRegisters>();
      Consume<Tile>(gemm, shared, rank, warpgroup, full, empty);
    }
    if (Tile::kBlocks > 1 || AddsParts<Tile>(gemm)) {
      // Others arrive at this block's barriers, or read its part, for as long as they work.
      __syncwarp();
      ClusterBarrier();
    }
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
    int blocks = 0;  // One for each multiprocessor; each does many tiles.
    const auto error = DeviceAttribute(cudaDevAttrMultiProcessorCount, &blocks);
    if (error != cudaSuccess) return error;
    return LaunchOverlapped(GemmSm90aKernel<Tile>, dim3(blocks < tiles ? blocks : tiles),
                            dim3(Tile::kThreads), Tile::kSharedBytes, stream, gemm);
  }
}

template <typename Tile>
constexpr GemmSm90aTile kGemmSm90aTile = {
    Tile::kRows,   Tile::kColumns,       Tile::kPingPong,     Tile::kMulticast, Tile::kSharedBytes,
    Tile::kInRows, Tile::kWeightColumns, Tile::kStoreColumns, Tile::kAddsParts, &LaunchGemmSm90a<Tile>};

}  // namespace repvgg::cuda
