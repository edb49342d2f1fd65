// Direct convolution in fp32 without tensor cores: an implicit GEMM of fused multiply-adds, with bias and
// ReLU.
//
// Tiling. A block computes kPixels output pixels x kChannels output channels of one group, a thread
// kThreadPixels x kThreadChannels of them, spread so that a warp reads neighbouring rows and stores whole
// lines. A step of the reduction is 16 values.
//
// Shared memory. kStages x (kPixels + kChannels) x 64 bytes. Pixels lie as they come, [pixel][16 values]: a
// thread reads four values of a pixel at once, so no transposition is needed. Weights are [16
// values][channel].
//
// Registers. The sums, four values of each of the thread's pixels, and one row of its channels: 64 + 32 + 8
// for 8 x 8 tiles, 96 + 32 + 12 for 8 x 12; docs/kernels.md has the figures of the compiler.
//
// Where time goes. Expected, not measured: the multiply-adds. Per 4 values a thread reads 8 + 8 float4 for
// 256 multiply-adds (8 + 12 for 384), most of them broadcasts.
//
// Limits. Any channels (element-wise copies where a group's do not fill 16 bytes).
#include "cuda/direct_fp32.h"
#include "cuda/element.cuh"
#include "cuda/implicit_gemm.cuh"

namespace repvgg::cuda {
namespace {

constexpr int kStages = 3;
constexpr int kStepValues = kRowBytes / 4;
// After so many steps (1024 values) a sum is added to the output and starts again at zero: the rounding error
// of one sequential sum grows with the square root of its length, to 1e-6 for 768 channels.
constexpr int kSegmentSteps = 64;

template <int kPixelsOfTile, int kChannelsOfTile, int kChannelsOfThread, bool kAlignedChannels>
struct Tile {
  static constexpr int kPixels = kPixelsOfTile;
  static constexpr int kChannels = kChannelsOfTile;
  static constexpr int kThreadPixels = 8;
  static constexpr int kThreadChannels = kChannelsOfThread;
  static constexpr bool kAligned = kAlignedChannels;

  static constexpr int kRows = kPixels / kThreadPixels;         // Threads along the pixels.
  static constexpr int kColumns = kChannels / kThreadChannels;  // Threads along the channels.
  static constexpr int kVectors = kThreadChannels / 4;
  static constexpr int kThreads = kRows * kColumns;
  static_assert(kPixels % kThreadPixels == 0 && kChannels % kThreadChannels == 0 && kThreadChannels % 4 == 0);
  static_assert(kThreads % 32 == 0);
  // Blocks on a multiprocessor: 12 warps, or 8 with the larger tiles of a thread, leave it registers enough.
  static constexpr int kBlocks = (kThreadChannels == 8 ? 384 : 256) / kThreads;

  using Pixels = PixelTile<float, kPixels, kThreads, kAligned>;
  static constexpr int kStageBytes = Pixels::kBytes + kChannels * kRowBytes;
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

// Adds what the output holds so far (`resume`), then bias and ReLU (`last`), and writes the output. `sum`
// becomes zero.
template <typename T>
REPVGG_DEVICE void WriteSums(const Convolution& layer, int first_pixel, int group, int first_channel,
                             bool resume, bool last, float (&sum)[T::kThreadPixels][T::kVectors][4]) {
  const int group_out = layer.group_out();
#pragma unroll
  for (int v = 0; v < T::kVectors; ++v) {
    const int channel = first_channel + v * T::kColumns * 4;
    const int count = group_out - channel;  // Channels of this vector, if fewer than 4.
    if (count <= 0) continue;
    float offset[4];
#pragma unroll
    for (int e = 0; e < 4; ++e)
      offset[e] = last && e < count ? layer.bias[group * group_out + channel + e] : 0;
#pragma unroll
    for (int i = 0; i < T::kThreadPixels; ++i) {
      const int pixel = first_pixel + i * T::kRows;
      if (pixel >= layer.pixels()) continue;
      float* const to = static_cast<float*>(layer.out) + static_cast<size_t>(pixel) * layer.out_channels +
                        group * group_out + channel;
      float result[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        result[e] = sum[i][v][e];
        if (resume && e < count) result[e] += to[e];
        result[e] += offset[e];
        if (last && layer.relu) result[e] = Relu(result[e]);
        sum[i][v][e] = 0;
      }
      if constexpr (T::kAligned) {
        *reinterpret_cast<float4*>(to) = make_float4(result[0], result[1], result[2], result[3]);
      } else {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          if (e < count) to[e] = result[e];
        }
      }
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks) DirectFp32Kernel(const Convolution layer) {
  unsigned char* const shared = SharedMemory();
  const int group_out = layer.group_out();
  const int padded_out = DivideUp(group_out, 4) * 4;
  const int channel_tiles = DivideUp(group_out, T::kChannels);
  // Blocks that read the same pixels follow each other.
  const int columns = channel_tiles * layer.groups;
  const int first_pixel = blockIdx.x / columns * T::kPixels;
  const int group = blockIdx.x % columns / channel_tiles;
  const int first_channel = blockIdx.x % columns % channel_tiles * T::kChannels;
  const int steps = ReductionSteps(layer.group_in(), 4);
  const int row = threadIdx.x / T::kColumns, column = threadIdx.x % T::kColumns;

  typename T::Pixels pixels(layer, first_pixel, group);
  // [group][step][16 values][channel, filled up to a multiple of 4]
  const float* const packed = static_cast<const float*>(layer.weight);
  const float* weight =
      packed + static_cast<size_t>(group) * steps * kStepValues * padded_out + first_channel;

  const auto load = [&](int stage) {
    unsigned char* const to = shared + stage * T::kStageBytes;
    pixels.LoadNext(to);
    constexpr int kRowChunks = T::kChannels / 4;
#pragma unroll
    for (int i = 0; i < DivideUp(kStepValues * kRowChunks, T::kThreads); ++i) {
      const int chunk = threadIdx.x + i * T::kThreads;
      if (kStepValues * kRowChunks % T::kThreads == 0 || chunk < kStepValues * kRowChunks) {
        const int value = chunk / kRowChunks, channel = chunk % kRowChunks * 4;
        const bool valid = first_channel + channel < padded_out;
        CpAsync<16>(to + T::Pixels::kBytes + chunk * 16,
                    valid ? weight + value * padded_out + channel : packed, valid);
      }
    }
    weight += static_cast<size_t>(kStepValues) * padded_out;
  };

  float sum[T::kThreadPixels][T::kVectors][4] = {};
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < steps) load(stage);
    CpAsyncCommit();
  }
  int read = 0, write = kStages - 1;
  for (int step = 0; step < steps; ++step) {
    CpAsyncWait<kStages - 2>();
    // Everybody's copies of this step have landed, and nobody still reads the stage that is filled next.
    __syncthreads();
    if (step + kStages - 1 < steps) load(write);
    CpAsyncCommit();
    const unsigned char* const stage = shared + read * T::kStageBytes;
    MultiplyStep<T>(stage, reinterpret_cast<const float*>(stage + T::Pixels::kBytes), row, column, sum);
    read = read + 1 == kStages ? 0 : read + 1;
    write = write + 1 == kStages ? 0 : write + 1;
    if ((step + 1) % kSegmentSteps == 0 && step + 1 < steps) {
      WriteSums<T>(layer, first_pixel + row, group, first_channel + column * 4, step >= kSegmentSteps, false,
                   sum);
    }
  }

  WriteSums<T>(layer, first_pixel + row, group, first_channel + column * 4, steps > kSegmentSteps, true, sum);
}

template <typename T>
cudaError_t LaunchTile(const Convolution& layer, cudaStream_t stream) {
  const bool aligned = layer.group_in() % 4 == 0 && layer.group_out() % 4 == 0;
  if (!layer.fits() || (T::kAligned && !aligned)) return cudaErrorInvalidValue;
  const int blocks =
      DivideUp(layer.pixels(), T::kPixels) * DivideUp(layer.group_out(), T::kChannels) * layer.groups;
  return Launch(DirectFp32Kernel<T>, dim3(blocks), dim3(T::kThreads), T::kSharedBytes, stream, layer);
}

template <typename... Tiles>
struct Table {
  static constexpr DirectFp32Tile kTiles[sizeof...(Tiles)] = {
      {Tiles::kPixels, Tiles::kChannels, Tiles::kThreads, Tiles::kSharedBytes, Tiles::kAligned}...};
  static constexpr cudaError_t (*kLaunch[sizeof...(Tiles)])(const Convolution&,
                                                            cudaStream_t) = {&LaunchTile<Tiles>...};
};

// Widths divide the channels of the official networks: 32, 40, 48, 64, 80, 96, 128, 160 and 192 per group, or
// multiples of these. The first one serves channels that fill no chunks of 16 bytes.
using Tiles = Table<Tile<64, 64, 8, false>,   //
                    Tile<64, 64, 8, true>,    //
                    Tile<64, 128, 8, true>,   //
                    Tile<256, 32, 8, true>,   //
                    Tile<256, 40, 8, true>,   //
                    Tile<256, 48, 12, true>,  //
                    Tile<128, 64, 8, true>,   //
                    Tile<128, 80, 8, true>,   //
                    Tile<128, 96, 12, true>,  //
                    Tile<128, 128, 8, true>,  //
                    Tile<128, 192, 12, true>>;

}  // namespace

std::span<const DirectFp32Tile> DirectFp32TileTable() { return Tiles::kTiles; }

std::vector<float> PackDirectFp32(const Convolution& layer, const float* weight) {
  const int group_in = layer.group_in(), group_out = layer.group_out();
  const int padded_out = DivideUp(group_out, 4) * 4;
  const int chunks = DivideUp(group_in, 4);
  const int steps = ReductionSteps(group_in, 4);
  std::vector<float> packed(static_cast<size_t>(layer.groups) * steps * kStepValues * padded_out);
  for (int group = 0; group < layer.groups; ++group) {
    ReductionPosition position(chunks);
    for (int i = 0; i < steps * kStepChunks && position.block_chunks > 0; ++i) {
      const int first = (position.first_chunk + position.chunk) * 4;
      for (int e = 0; e < 4 && first + e < group_in; ++e) {
        float* const to =
            &packed[((static_cast<size_t>(group) * steps * kStepChunks + i) * 4 + e) * padded_out];
        for (int k = 0; k < group_out; ++k) {
          to[k] =
              weight[(static_cast<size_t>(group * group_out + k) * group_in + first + e) * 9 + position.tap];
        }
      }
      position.Advance(1, chunks);
    }
  }
  return packed;
}

cudaError_t LaunchDirectFp32(const Convolution& layer, int tile, cudaStream_t stream) {
  return Tiles::kLaunch[tile](layer, stream);
}

}  // namespace repvgg::cuda
