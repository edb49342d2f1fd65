// Fused Winograd F(2x2, 3x3) in fp32 on the CUDA cores.
//
// Tiling. A block of 8 warps computes kTiles tiles (of 2x2 outputs) x kChannels output channels of one group,
// 32 x 64 or 64 x 32. Each warp owns two of the 16 positions and computes a kTiles x kChannels product for
// each, 8 x 8 per thread (the shape of openCNN's kernel; tiles are numbered across rows, columns and batch).
// A step is 8 input channels.
//
// Shared memory. Two stages of 16 x 8 x (kTiles + kChannels) floats: 96 KB. Weights are copied by cp.async;
// inputs pass through registers: loaded before a step's products, transformed and stored after them. The
// epilogue reuses the 96 KB to gather the 16 positions of each tile, half of the channels at a time.
//
// Registers per thread. 128 accumulators, 16 or 32 inputs in flight, 16 operands.
//
// Where time goes. Predicted, not measured: multiply-adds (1024 per thread and step, for 64 float4 loads);
// the transforms take about a tenth.
//
// Limits. One block per multiprocessor. 96 KB of shared memory, hence not sm_75. Channels per group in
// multiples of 4.
#include "cuda/launch.cuh"
#include "cuda/winograd_f2.cuh"

namespace repvgg::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kDepth = InputDepth(Precision::kFp32);

template <int kTileThreads>
struct Shape {
  static constexpr int kTiles = 8 * kTileThreads;
  static constexpr int kChannelThreads = 32 / kTileThreads;
  static constexpr int kChannels = 8 * kChannelThreads;
  using Place = BlockPlace<kTiles, kChannels>;
  static constexpr int kItems =
      kTiles * kDepth / kThreads;  // Tiles (at one channel) that a thread transforms per step.
  static constexpr int kInputFloats = kPositions * kDepth * kTiles;
  static constexpr int kWeightFloats = kPositions * kDepth * kChannels;
  static constexpr int kStageFloats = kInputFloats + kWeightFloats;
  static constexpr int kSharedBytes = 2 * kStageFloats * static_cast<int>(sizeof(float));
  static_assert(kPositions * kTiles * kChannels / 2 <= 2 * kStageFloats);
};

// Transformed inputs are [position][channel][tile], swizzled: the tiles of channel c are XORed with 4c,
// without conflicts for storing lanes (4 tiles x 8 channels) and for loading lanes (4 adjacent tiles of one
// channel).
REPVGG_DEVICE int InputIndex(int tile, int channel) { return (tile ^ channel % 8 * 4); }

// A lane's first tile and channel. Lanes n and n ^ 1 share channels, lanes n and n ^ 2 tiles, as in
// fp32_tile.cuh.
template <typename S>
REPVGG_DEVICE int LaneTile() {
  return (threadIdx.x % 32 / 2 / S::kChannelThreads * 2 + threadIdx.x % 2) * 4;
}
template <typename S>
REPVGG_DEVICE int LaneChannel() {
  return threadIdx.x % 32 / 2 % S::kChannelThreads * 4;
}
// The epilogue's swizzle: every other group of four tiles is shifted by 64 bytes, so that lanes with adjacent
// tiles store to different banks.
REPVGG_DEVICE int OutputIndex(int tile, int index) { return index ^ (tile / 4 % 2 * 16); }

template <typename S>
REPVGG_DEVICE void MultiplyStep(const float* inputs, const float* weights, float (&sum)[2][8][8]) {
  const int warp = threadIdx.x / 32, tile = LaneTile<S>(), channel = LaneChannel<S>();
#pragma unroll
  for (int p = 0; p < 2; ++p) {
    const int row = (warp * 2 + p) * kDepth;
#pragma unroll
    for (int c = 0; c < kDepth; ++c) {
      const float* const from = inputs + (row + c) * S::kTiles;
      const float* const weight = weights + (row + c) * S::kChannels + channel;
      const float4 a0 = *reinterpret_cast<const float4*>(from + InputIndex(tile, c));
      const float4 a1 = *reinterpret_cast<const float4*>(from + InputIndex(tile + S::kTiles / 2, c));
      const float4 b0 = *reinterpret_cast<const float4*>(weight);
      const float4 b1 = *reinterpret_cast<const float4*>(weight + S::kChannels / 2);
      const float a[8] = {a0.x, a0.y, a0.z, a0.w, a1.x, a1.y, a1.z, a1.w};
      const float b[8] = {b0.x, b0.y, b0.z, b0.w, b1.x, b1.y, b1.z, b1.w};
#pragma unroll
      for (int i = 0; i < 8; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[p][i][j] += a[i] * b[j];
      }
    }
  }
}

template <typename S>
__global__ void __launch_bounds__(kThreads, 1) WinogradF2Kernel(const Convolution layer) {
  float* const shared = reinterpret_cast<float*>(SharedMemory());
  const int group_in = layer.group_in(), group_out = layer.group_out();
  const auto [first_tile, group, first_channel] = typename S::Place(group_out, layer.groups);
  const int steps = DivideUp(group_in, kDepth);
  const int warp = threadIdx.x / 32;

  // Layout: [group][step][position][input channel][output channel].
  const float* const packed = static_cast<const float*>(layer.weight);
  const float* weight =
      packed + static_cast<size_t>(group) * steps * kPositions * kDepth * group_out + first_channel;
  const auto load_weights = [&](int step) {
    float* const to = shared + step % 2 * S::kStageFloats + S::kInputFloats;
    constexpr int kRowChunks = S::kChannels / 4;
#pragma unroll
    for (int i = 0; i < kPositions * kDepth * kRowChunks / kThreads; ++i) {
      const int chunk = threadIdx.x + i * kThreads;
      const int row = chunk / kRowChunks, channel = chunk % kRowChunks * 4;
      const bool valid = first_channel + channel < group_out;
      CpAsync<16>(to + chunk * 4, valid ? weight + row * group_out + channel : packed, valid);
    }
    CpAsyncCommit();
    weight += static_cast<size_t>(kPositions) * kDepth * group_out;
  };

  // Eight lanes load the eight channels of a tile: 32 bytes of each pixel.
  const int own_tile = threadIdx.x / kDepth, own_channel = threadIdx.x % kDepth;
  constexpr int kTileStep = kThreads / kDepth;
  const float* const in = static_cast<const float*>(layer.in);
  static_assert(S::kItems <= 2);
  const TileInput<2> inputs[] = {{layer, first_tile + own_tile, group * group_in + own_channel},
                                 {layer, first_tile + own_tile + kTileStep, group * group_in + own_channel}};
  float pixels[S::kItems][16];
  const auto load_inputs = [&](int step) {
    const int channel = step * kDepth;
#pragma unroll
    for (int i = 0; i < S::kItems; ++i) {
      inputs[i].LoadTile(pixels[i], channel, channel + own_channel < group_in,
                         [&](int at) { return in[at]; });
    }
  };
  const auto store_inputs = [&](int step) {
    float* const to = shared + step % 2 * S::kStageFloats + own_channel * S::kTiles;
#pragma unroll
    for (int i = 0; i < S::kItems; ++i) {
      TransformInput<2>(pixels[i]);
#pragma unroll
      for (int p = 0; p < kPositions; ++p) {
        to[p * kDepth * S::kTiles + InputIndex(own_tile + i * kTileStep, own_channel)] = pixels[i][p];
      }
    }
  };

  float sum[2][8][8] = {};
  RunSteps(steps, load_weights, load_inputs, store_inputs, [&](int step) {
    const float* const stage = shared + step % 2 * S::kStageFloats;
    MultiplyStep<S>(stage, stage + S::kInputFloats, sum);
  });

  // Gathered as [position][tile][channel], half of the channels at a time.
  constexpr int kHalf = S::kChannels / 2;
  const int tile = LaneTile<S>(), channel = LaneChannel<S>();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    __syncthreads();
#pragma unroll
    for (int p = 0; p < 2; ++p) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const float* const s = sum[p][i] + half * 4;
        const int row = (warp * 2 + p) * S::kTiles + tile + i / 4 * (S::kTiles / 2) + i % 4;
        *reinterpret_cast<float4*>(shared + OutputIndex(tile, row * kHalf + channel)) =
            make_float4(s[0], s[1], s[2], s[3]);
      }
    }
    __syncthreads();
    constexpr int kRowVectors = kHalf / 4;
    const int out_tile = threadIdx.x / kRowVectors, vector = threadIdx.x % kRowVectors * 4;
    const int out_channel = first_channel + half * kHalf + vector;
    if (first_tile + out_tile >= WinogradTiles<2>(layer) || out_channel >= group_out) continue;
    float sums[4][kPositions];
#pragma unroll
    for (int p = 0; p < kPositions; ++p) {
      const int index = OutputIndex(out_tile, (p * S::kTiles + out_tile) * kHalf + vector);
      const float4 four = *reinterpret_cast<const float4*>(shared + index);
      sums[0][p] = four.x, sums[1][p] = four.y, sums[2][p] = four.z, sums[3][p] = four.w;
    }
    WriteTile<Precision::kFp32>(layer, first_tile + out_tile, group * group_out + out_channel, sums);
  }
}

template <typename S>
cudaError_t LaunchShape(const Convolution& layer, cudaStream_t stream) {
  if (!layer.fits() || !WinogradF2Fits(layer, Precision::kFp32)) return cudaErrorInvalidValue;
  const int blocks = S::Place::Count(WinogradTiles<2>(layer), layer.group_out(), layer.groups);
  return Launch(WinogradF2Kernel<S>, dim3(blocks), dim3(kThreads), S::kSharedBytes, stream, layer);
}

template <typename S>
constexpr ConvolutionTile kTile = {S::kTiles, S::kChannels, S::kSharedBytes, true, &LaunchShape<S>};
constexpr ConvolutionTile kTiles[] = {kTile<Shape<4>>, kTile<Shape<8>>};

}  // namespace

extern const std::span<const ConvolutionTile> kWinogradF2Fp32;
const std::span<const ConvolutionTile> kWinogradF2Fp32 = kTiles;

}  // namespace repvgg::cuda
