// Block-level GEMM on tensor cores by mma.sync, in fp16, bf16 (m16n8k16) or tf32 (m16n8k8) with fp32
// accumulators: the main loop and epilogue of direct_mma.cuh (rows are output pixels), winograd_chain_mma.cu
// (rows are Winograd tiles) and stem_fused.cu.
//
// Tiling. A block computes kPixels rows x kChannels columns, divided among kWarpsM x kWarpsN warps. A step of
// the reduction is 64 bytes per row of either operand: 32 channels of a 16-bit type, 16 of tf32.
//
// Shared memory. kStages x (kPixels + kChannels) x 64 bytes, filled by cp.async kStages - 1 steps ahead with
// one barrier per step. The epilogue reuses it, to write rows of the map in 16-byte pieces. The stages are
// swizzled and the epilogue's rows padded: ldmatrix, cp.async and the epilogue's stores have no bank
// conflicts, except for two-way conflicts of these in tiles of 40 channels. Its loads have some, up to
// two-way, where a row is not a multiple of 128 bytes.
//
// Registers per thread. (kPixels / kWarpsM) x (kChannels / kWarpsN) / 32 accumulators, and fragments of a
// quarter of the warp tile's edges; docs/kernels.md lists what the compiler allocates.
#pragma once

#include "cuda/block_place.cuh"
#include "cuda/cp_async_pipeline.cuh"
#include "cuda/element.cuh"
#include "cuda/implicit_gemm.cuh"

namespace repvgg::cuda {

// The shape of a block's tile and of its warps' tiles.
template <Precision kPrecisionOfMaps, int kPixelsOfTile, int kChannelsOfTile, int kWarpsAlongM,
          int kWarpsAlongN, bool kAlignedChannels>
struct WarpTiling {
  static constexpr Precision kPrecision = kPrecisionOfMaps;
  using T = Element<kPrecision>;
  static constexpr int kPixels = kPixelsOfTile;
  static constexpr int kChannels = kChannelsOfTile;
  static constexpr int kWarpsM = kWarpsAlongM;
  static constexpr int kWarpsN = kWarpsAlongN;
  static constexpr bool kAligned = kAlignedChannels;

  static constexpr int kThreads = 32 * kWarpsM * kWarpsN;
  static constexpr int kWarpPixels = kPixels / kWarpsM;
  static constexpr int kWarpChannels = kChannels / kWarpsN;
  static constexpr int kTilesM = kWarpPixels / 16;
  static constexpr int kTilesN = kWarpChannels / 8;
  static_assert(kWarpPixels % 16 == 0 && kWarpChannels % 8 == 0);
  static constexpr int kPerChunk = kChunkBytes / static_cast<int>(sizeof(T));
  static constexpr int kWeightBytes = kChannels * kRowBytes;  // Per step.
  // Padded by eight elements, so that the rows that a warp writes at a time lie in different banks.
  static constexpr int kOutPitch = kChannels + 8;
  static constexpr int kOutBytes = kPixels * kOutPitch * static_cast<int>(sizeof(T));
};

template <Precision kPrecisionOfMaps, int kPixelsOfTile, int kChannelsOfTile, int kWarpsAlongM,
          int kWarpsAlongN, int kStagesOfPipeline, bool kAlignedChannels>
struct DirectMma : WarpTiling<kPrecisionOfMaps, kPixelsOfTile, kChannelsOfTile, kWarpsAlongM, kWarpsAlongN,
                              kAlignedChannels> {
  using Tiling = typename DirectMma::WarpTiling;
  static constexpr int kStages = kStagesOfPipeline;
  using Place = BlockPlace<kPixelsOfTile, kChannelsOfTile>;
  using Pixels = PixelTile<typename Tiling::T, kPixelsOfTile, Tiling::kThreads, kAlignedChannels>;
  static constexpr int kStageBytes = Pixels::kBytes + Tiling::kWeightBytes;
  static constexpr int kSharedBytes =
      kStages * kStageBytes > Tiling::kOutBytes ? kStages* kStageBytes : Tiling::kOutBytes;
};

// This lane's ldmatrix row offsets of the weights in a stage, `first` bytes from its start, for either half
// (16 channels) of a step. Further fragments are a constant apart: their rows have the same swizzle.
template <typename Tile>
struct WeightRows {
  int four[2], two[2];  // For ldmatrix.x4 and for ldmatrix.x2.

  REPVGG_DEVICE explicit WeightRows(int first) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int channel = warp / Tile::kWarpsM * Tile::kWarpChannels + lane % 8;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int chunk = half * 2 + lane / 8 % 2;
      four[half] = first + KeepInRegister(SwizzledOffset(channel + lane / 16 * 8, chunk));
      two[half] = first + KeepInRegister(SwizzledOffset(channel, chunk));
    }
  }
};

// The row offsets of both operands.
template <typename Tile>
struct FragmentRows {
  int pixels[2];
  WeightRows<Tile> weights{Tile::Pixels::kBytes};

  REPVGG_DEVICE FragmentRows() {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int pixel = warp % Tile::kWarpsM * Tile::kWarpPixels + lane % 16;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      pixels[half] = KeepInRegister(SwizzledOffset(pixel, half * 2 + lane / 16));
    }
  }
};

// Half a step: one mma along the reduction for each pair of fragments. `pixels` is this lane's row of the
// first pixel fragment; the others follow at multiples of kFragmentPitch bytes.
template <typename Tile, int kFragmentPitch>
REPVGG_DEVICE void MultiplyHalf(const unsigned char* pixels, const unsigned char* stage,
                                const WeightRows<Tile>& rows, int half,
                                float (&sum)[Tile::kTilesM][Tile::kTilesN][4]) {
  uint32_t a[Tile::kTilesM][4], b[Tile::kTilesN][2];
#pragma unroll
  for (int m = 0; m < Tile::kTilesM; ++m) LdMatrixX4(a[m], pixels + m * kFragmentPitch);
#pragma unroll
  for (int n = 0; n + 1 < Tile::kTilesN; n += 2) {
    uint32_t two[4];
    LdMatrixX4(two, stage + rows.four[half] + n * 8 * kRowBytes);
    b[n][0] = two[0], b[n][1] = two[1], b[n + 1][0] = two[2], b[n + 1][1] = two[3];
  }
  if constexpr (Tile::kTilesN % 2 == 1) {
    constexpr int kLast = Tile::kTilesN - 1;
    LdMatrixX2(b[kLast], stage + rows.two[half] + kLast * 8 * kRowBytes);
  }
#pragma unroll
  for (int m = 0; m < Tile::kTilesM; ++m) {
#pragma unroll
    for (int n = 0; n < Tile::kTilesN; ++n) Mma<typename Tile::T>(sum[m][n], a[m], b[n]);
  }
}

template <typename Tile>
REPVGG_DEVICE void MultiplyStep(const unsigned char* stage, const FragmentRows<Tile>& rows,
                                float (&sum)[Tile::kTilesM][Tile::kTilesN][4]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    MultiplyHalf<Tile, 16 * kRowBytes>(stage + rows.pixels[half], stage, rows.weights, half, sum);
  }
}

// The whole reduction. `load(step, stage)` issues this thread's copies of a step's operands.
template <typename Tile, typename Load>
REPVGG_DEVICE void MultiplyPipelined(unsigned char* shared, int steps,
                                     float (&sum)[Tile::kTilesM][Tile::kTilesN][4], Load load) {
  StartPipeline<Tile::kStages>(steps, load);
  const FragmentRows<Tile> rows;
  RunPipeline<Tile::kStages>(steps, load, [&](int, int stage) {
    MultiplyStep<Tile>(shared + stage * Tile::kStageBytes, rows, sum);
  });
}

// The epilogue: bias (unless null) and ReLU, then through shared memory to whole rows of channels. `bias`
// starts at the tile's first channel, from which `channels` are left. `row(pixel)` is where that channel of a
// pixel is written, or null beyond the map.
template <typename Tile, typename Row>
REPVGG_DEVICE void StoreRows(unsigned char* shared, const float (&sum)[Tile::kTilesM][Tile::kTilesN][4],
                             const float* bias, bool relu, int channels, Row row) {
  using T = typename Tile::T;
  __syncthreads();
  T* const tile = reinterpret_cast<T*>(shared);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int warp_pixel = warp % Tile::kWarpsM * Tile::kWarpPixels;
  const int warp_channel = warp / Tile::kWarpsM * Tile::kWarpChannels;
#pragma unroll
  for (int n = 0; n < Tile::kTilesN; ++n) {
    const int channel = warp_channel + n * 8 + lane % 4 * 2;
    const float bias0 = bias != nullptr && channel < channels ? bias[channel] : 0;
    const float bias1 = bias != nullptr && channel + 1 < channels ? bias[channel + 1] : 0;
#pragma unroll
    for (int m = 0; m < Tile::kTilesM; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float first = sum[m][n][half * 2] + bias0;
        float second = sum[m][n][half * 2 + 1] + bias1;
        if (relu) first = Relu(first), second = Relu(second);
        const int pixel = warp_pixel + m * 16 + half * 8 + lane / 4;
        StorePair<Tile::kPrecision>(tile + pixel * Tile::kOutPitch + channel, first, second);
      }
    }
  }
  __syncthreads();
  constexpr int kRowChunks = Tile::kChannels / Tile::kPerChunk;
  for (int i = threadIdx.x; i < Tile::kPixels * kRowChunks; i += Tile::kThreads) {
    const int pixel = i / kRowChunks, channel = i % kRowChunks * Tile::kPerChunk;
    T* const first = row(pixel);
    if (first == nullptr || channel >= channels) continue;
    const T* const from = tile + pixel * Tile::kOutPitch + channel;
    T* const to = first + channel;
    if constexpr (Tile::kAligned) {
      *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
    } else {
      for (int e = 0; e < Tile::kPerChunk && channel + e < channels; ++e) to[e] = from[e];
    }
  }
}

// StoreRows for contiguous rows of a map: `out` is the tile's first row, from which `rows` are left.
template <typename Tile>
REPVGG_DEVICE void StoreTile(unsigned char* shared, const float (&sum)[Tile::kTilesM][Tile::kTilesN][4],
                             const float* bias, bool relu, typename Tile::T* out, int pitch, int rows,
                             int channels) {
  StoreRows<Tile>(shared, sum, bias, relu, channels, [=](int pixel) {
    return pixel < rows ? out + static_cast<size_t>(pixel) * pitch : nullptr;
  });
}

}  // namespace repvgg::cuda
