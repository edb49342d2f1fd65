// Direct convolution on tensor cores (mma.sync): an implicit GEMM in fp16, bf16 (m16n8k16) or tf32 (m16n8k8)
// with fp32 accumulators, and bias and ReLU in the epilogue.
//
// Tiling, shared memory, registers. A block computes kPixels output pixels x kChannels output channels of one
// group, as mma_tile.cuh describes. A step of the reduction is 64 bytes per row of either operand, across
// taps where a block of channels is narrow (convolution.h). The types differ only in the mma instruction.
//
// Where time goes. Predicted, not measured: the mma with 64 x 64 warp tiles; prologue and epilogue with few
// channels (K = 432 in A0); on Hopper mma.sync itself, which reaches about 60 % of wgmma's rate.
//
// Limits. sm_80; fp16 also runs on sm_75, with synchronous copies (direct_wmma.cu overlaps them there).
// Channels per group that do not fill 16-byte chunks need the element-wise tile.
#pragma once

#include "cuda/direct_mma.h"
#include "cuda/launch.cuh"
#include "cuda/mma_tile.cuh"

namespace repvgg::cuda {

template <typename T>
inline constexpr bool kHasMma = REPVGG_ARCH >= 800;
template <>
inline constexpr bool kHasMma<Half> = REPVGG_ARCH >= 750;

template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads) DirectMmaKernel(const Convolution layer) {
  using T = typename Tile::T;
  if (!kHasMma<T>) return Trap();
  AllowNextKernel();
  WaitForPreviousKernel();
  unsigned char* const shared = SharedMemory();
  const int group_out = layer.group_out();
  const auto [first_pixel, group, first_channel] = typename Tile::Place(group_out, layer.groups);
  const int steps = ReductionSteps(layer.group_in(), Tile::kPerChunk);

  typename Tile::Pixels pixels(layer, first_pixel, group);
  // Layout: [group][step][channel][64 bytes]. The rows of a step are contiguous.
  const auto* weight = static_cast<const unsigned char*>(layer.weight) +
                       (static_cast<size_t>(group) * steps * group_out + first_channel) * kRowBytes +
                       threadIdx.x * kChunkBytes;
  // The chunks of a step from this thread's on. All chunks that a thread copies have the same swizzle.
  const int weight_chunks = KeepInRegister((group_out - first_channel) * kStepChunks - threadIdx.x);
  const int destination =
      KeepInRegister(SwizzledOffset(threadIdx.x / kStepChunks, threadIdx.x % kStepChunks));
  constexpr int kWeightChunks = Tile::kChannels * kStepChunks;
  static_assert(Tile::kThreads / kStepChunks % 8 == 0);

  const auto load = [&](int, int stage) {
    unsigned char* const to = shared + stage * Tile::kStageBytes;
    pixels.LoadNext(to);
#pragma unroll
    for (int i = 0; i < DivideUp(kWeightChunks, Tile::kThreads); ++i) {
      const int first = i * Tile::kThreads;
      if (kWeightChunks % Tile::kThreads == 0 || threadIdx.x + first < kWeightChunks) {
        const bool valid = first < weight_chunks;
        const auto* const none = static_cast<const unsigned char*>(layer.weight);
        CpAsync<kChunkBytes>(to + Tile::Pixels::kBytes + destination + first * kChunkBytes,
                             valid ? weight + first * kChunkBytes : none, valid);
      }
    }
    weight += static_cast<size_t>(group_out) * kRowBytes;
  };

  float sum[Tile::kTilesM][Tile::kTilesN][4] = {};
  MultiplyPipelined<Tile>(shared, steps, sum, load);

  T* const out = static_cast<T*>(layer.out) + static_cast<size_t>(first_pixel) * layer.out_channels +
                 group * group_out + first_channel;
  StoreTile<Tile>(shared, sum, layer.bias + group * group_out + first_channel, layer.relu, out,
                  layer.out_channels, layer.pixels() - first_pixel, group_out - first_channel);
}

template <typename Tile>
cudaError_t LaunchDirectMmaTile(const Convolution& layer, cudaStream_t stream) {
  const bool aligned = layer.group_in() % Tile::kPerChunk == 0 && layer.group_out() % Tile::kPerChunk == 0;
  if (!layer.fits() || (Tile::kAligned && !aligned)) return cudaErrorInvalidValue;
  const int blocks = Tile::Place::Count(layer.pixels(), layer.group_out(), layer.groups);
  return LaunchOverlapped(DirectMmaKernel<Tile>, dim3(blocks), dim3(Tile::kThreads), Tile::kSharedBytes,
                          stream, layer);
}

template <typename Tile>
constexpr ConvolutionTile kDirectMmaTile = {Tile::kPixels, Tile::kChannels, Tile::kSharedBytes,
                                            Tile::kAligned, &LaunchDirectMmaTile<Tile>};

// The tiles that are instantiated for each type. Widths divide the networks' channels per group (32, 40, 48,
// 64, 80, 96, 128, 160, 192 and multiples) exactly. The first tile serves channels that do not fill 16-byte
// chunks.
template <Precision kPrecision>
constexpr ConvolutionTile kDirectMmaTiles[] = {
    kDirectMmaTile<DirectMma<kPrecision, 64, 64, 2, 2, 3, false>>,   //
    kDirectMmaTile<DirectMma<kPrecision, 64, 64, 2, 2, 4, true>>,    //
    kDirectMmaTile<DirectMma<kPrecision, 64, 128, 2, 2, 4, true>>,   //
    kDirectMmaTile<DirectMma<kPrecision, 128, 32, 4, 1, 4, true>>,   //
    kDirectMmaTile<DirectMma<kPrecision, 128, 40, 4, 1, 4, true>>,   //
    kDirectMmaTile<DirectMma<kPrecision, 128, 48, 4, 1, 4, true>>,   //
    kDirectMmaTile<DirectMma<kPrecision, 128, 64, 2, 2, 4, true>>,   //
    kDirectMmaTile<DirectMma<kPrecision, 128, 80, 4, 1, 4, true>>,   //
    kDirectMmaTile<DirectMma<kPrecision, 128, 96, 2, 2, 4, true>>,   //
    kDirectMmaTile<DirectMma<kPrecision, 128, 128, 2, 2, 4, true>>,  //
    kDirectMmaTile<DirectMma<kPrecision, 128, 160, 4, 2, 3, true>>,  //
    kDirectMmaTile<DirectMma<kPrecision, 128, 192, 2, 4, 3, true>>,  //
    kDirectMmaTile<DirectMma<kPrecision, 256, 64, 4, 1, 3, true>>,   //
    kDirectMmaTile<DirectMma<kPrecision, 256, 96, 4, 2, 3, true>>,   //
    kDirectMmaTile<DirectMma<kPrecision, 256, 128, 4, 2, 3, true>>};

}  // namespace repvgg::cuda
