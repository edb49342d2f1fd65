// Block-level GEMM in fp32 on the CUDA cores: the main loop of direct_fp32.cu (rows are output pixels) and
// winograd_f4_fp32.cu (rows are Winograd tiles).
//
// Tiling. A block computes kPixels rows x kChannels columns, a thread kThreadPixels x kThreadChannels of
// them, interleaved such that a warp reads adjacent rows and stores whole lines. Lanes n and n ^ 1 share
// columns, lanes n and n ^ 2 share rows: a 128-bit shared memory load then takes two cycles for the warp
// instead of four (NVIDIA developer forum, "Unexpected shared memory bank conflict"). A step of the reduction
// is 16 values.
//
// Shared memory. kStages (3) x (kPixels + kChannels) x 64 bytes. Pixels are [row][16 values], as in the map:
// a thread reads four values of a row at once, so they need not be transposed. Weights are [16
// values][channel].
//
// Registers per thread. Accumulators, four values of each of its rows, and one row of its weights: 64 + 32 +
// 8 for 8 x 8 thread tiles, 96 + 32 + 12 for 8 x 12; docs/kernels.md lists what the compiler allocates.
//
// Where time goes. Predicted, not measured: multiply-adds. For every 4 values a thread loads 8 + 8 float4 for
// 256 multiply-adds (8 + 12 for 384), half of what shared memory can deliver in that time.
#pragma once

#include "cuda/block_place.cuh"
#include "cuda/cp_async_pipeline.cuh"
#include "cuda/implicit_gemm.cuh"

namespace repvgg::cuda {

inline constexpr int kStages = 3;
inline constexpr int kStepValues = kRowBytes / 4;

template <int kPixelsOfTile, int kChannelsOfTile, int kChannelsOfThread>
struct Fp32Tile {
  static constexpr int kPixels = kPixelsOfTile;
  static constexpr int kChannels = kChannelsOfTile;
  static constexpr int kThreadPixels = 8;
  static constexpr int kThreadChannels = kChannelsOfThread;
  using Place = BlockPlace<kPixels, kChannels>;

  static constexpr int kRows = kPixels / kThreadPixels;         // Threads along the pixels.
  static constexpr int kColumns = kChannels / kThreadChannels;  // Threads along the channels.
  static constexpr int kVectors = kThreadChannels / 4;
  REPVGG_DEVICE static int Row() { return threadIdx.x / 2 / kColumns * 2 + threadIdx.x % 2; }
  REPVGG_DEVICE static int Column() { return threadIdx.x / 2 % kColumns; }
  static constexpr int kThreads = kRows * kColumns;
  static_assert(kPixels % kThreadPixels == 0 && kChannels % kThreadChannels == 0 && kThreadChannels % 4 == 0);
  static_assert(kThreads % 32 == 0 && kRows % 2 == 0);
  // Occupancy that the registers allow: 12 warps per multiprocessor, or 8 with the larger thread tile.
  static constexpr int kBlocks = (kThreadChannels == 8 ? 384 : 256) / kThreads;

  static constexpr int kPixelBytes = kPixels * kRowBytes;
  static constexpr int kStageBytes = kPixelBytes + kChannels * kRowBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes;
};

REPVGG_DEVICE void MultiplyAdd(float value, float4 weight, float (&sum)[4]) {
  sum[0] += value * weight.x;
  sum[1] += value * weight.y;
  sum[2] += value * weight.z;
  sum[3] += value * weight.w;
}

template <typename T>
REPVGG_DEVICE void MultiplyStep(const unsigned char* pixels, const float* weights, int row, int column,
                                float (&sum)[T::kThreadPixels][T::kVectors][4]) {
#pragma unroll
  for (int chunk = 0; chunk < kStepChunks; ++chunk) {
    float4 value[T::kThreadPixels];
#pragma unroll
    for (int i = 0; i < T::kThreadPixels; ++i) {
      value[i] = *reinterpret_cast<const float4*>(pixels + SwizzledOffset(row + i * T::kRows, chunk));
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      float4 weight[T::kVectors];
#pragma unroll
      for (int v = 0; v < T::kVectors; ++v) {
        weight[v] = *reinterpret_cast<const float4*>(weights + (chunk * 4 + e) * T::kChannels +
                                                     (v * T::kColumns + column) * 4);
      }
#pragma unroll
      for (int i = 0; i < T::kThreadPixels; ++i) {
        const float x = e == 0 ? value[i].x : e == 1 ? value[i].y : e == 2 ? value[i].z : value[i].w;
#pragma unroll
        for (int v = 0; v < T::kVectors; ++v) MultiplyAdd(x, weight[v], sum[i][v]);
      }
    }
  }
}

// Issues the copies of a step's weights, [16 values][pitch] in global memory; columns from `limit` on are
// zero-filled.
template <typename T>
REPVGG_DEVICE void LoadWeights(unsigned char* stage, const float* weight, int pitch, int limit) {
  unsigned char* const to = stage + T::kPixelBytes;
  constexpr int kRowChunks = T::kChannels / 4;
#pragma unroll
  for (int i = 0; i < DivideUp(kStepValues * kRowChunks, T::kThreads); ++i) {
    const int chunk = threadIdx.x + i * T::kThreads;
    if (kStepValues * kRowChunks % T::kThreads == 0 || chunk < kStepValues * kRowChunks) {
      const int value = chunk / kRowChunks, channel = chunk % kRowChunks * 4;
      const bool valid = channel < limit;
      CpAsync<16>(to + chunk * 16, valid ? weight + value * pitch + channel : weight, valid);
    }
  }
}

// The whole reduction. `load(stage)` issues this thread's copies of the next step's operands; `after(step)`
// is called after each step's products.
template <typename T, typename Load, typename After>
REPVGG_DEVICE void MultiplySteps(unsigned char* shared, int steps, int row, int column,
                                 float (&sum)[T::kThreadPixels][T::kVectors][4], Load load, After after) {
  const auto load_to = [&](int, int stage) { load(shared + stage * T::kStageBytes); };
  StartPipeline<kStages>(steps, load_to);
  RunPipeline<kStages>(steps, load_to, [&](int step, int stage) {
    const unsigned char* const from = shared + stage * T::kStageBytes;
    MultiplyStep<T>(from, reinterpret_cast<const float*>(from + T::kPixelBytes), row, column, sum);
    after(step);
  });
}

}  // namespace repvgg::cuda
