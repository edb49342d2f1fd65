// Fused Winograd F(2x2, 3x3) on tensor cores (mma.sync), in fp16 or bf16 with fp32 accumulators.
//
// Tiling. A block of 8 warps computes 64 tiles (of 2x2 outputs) x 32 output channels of one group; each warp
// owns two of the 16 positions and computes a 64 x 32 product for each. A step is 16 input channels, the
// depth of one mma.m16n8k16.
//
// Shared memory. Two stages of 16 positions x (64 + 32) rows of 32 bytes: 96 KB. Weights are copied by
// cp.async; inputs pass through registers: loaded before a step's products, transformed (in fp32) and stored
// after them. The epilogue uses 64 KB of it to gather the 16 positions of each tile, 16 channels at a time.
//
// Registers per thread. 128 accumulators, 32 inputs in flight, up to 24 operands.
//
// Where time goes. Predicted, not measured: shared memory. A step's 524288 multiply-adds take the tensor
// cores of a multiprocessor 512 clocks on A100 and 256 on Hopper at wgmma's rate, while its ldmatrix loads
// (48 KB), input stores (32 KB) and weight copies (16 KB) take shared memory 768 clocks. A gain over direct
// convolution is plausible on sm_80 and sm_86, not on Hopper.
//
// Limits. sm_80. One block per multiprocessor. Channels per group in multiples of 8.
#include "cuda/launch.cuh"
#include "cuda/winograd_f2.cuh"

namespace repvgg::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kDepth = InputDepth(Precision::kFp16);
constexpr int kTiles = 64;
constexpr int kChannels = 32;
using Place = BlockPlace<kTiles, kChannels>;
constexpr int kRowBytes = kDepth * 2;
constexpr int kInputBytes = kPositions * kTiles * kRowBytes;
constexpr int kStageBytes = kInputBytes + kPositions * kChannels * kRowBytes;
constexpr int kSharedBytes = 2 * kStageBytes;
constexpr int kPairs = kDepth / 2;                  // Pairs of channels per step.
constexpr int kItems = kTiles * kPairs / kThreads;  // Tiles (at one pair) that a thread transforms.
constexpr int kTileStep = kThreads / kPairs;
constexpr int kEpilogueChannels = 16;
static_assert(kPositions * kTiles * kEpilogueChannels * 4 <= kSharedBytes);

// The swizzle: four rows of 32 bytes span all banks, and the halves of the rows of every second four are
// swapped, so that ldmatrix reads eight rows without conflicts.
REPVGG_DEVICE int RowOffset(int row, int byte) { return row * kRowBytes + (byte ^ (row >> 2 & 1) * 16); }

template <Precision kPrecision>
REPVGG_DEVICE void MultiplyStep(const unsigned char* inputs, const unsigned char* weights,
                                float (&sum)[2][4][4][4]) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int p = 0; p < 2; ++p) {
    const int position = warp * 2 + p;
    uint32_t b[4][2];
#pragma unroll
    for (int n = 0; n < 4; n += 2) {
      uint32_t two[4];
      LdMatrixX4(two, weights + RowOffset(position * kChannels + n * 8 + lane / 16 * 8 + lane % 8,
                                          lane / 8 % 2 * 16));
      b[n][0] = two[0], b[n][1] = two[1], b[n + 1][0] = two[2], b[n + 1][1] = two[3];
    }
#pragma unroll
    for (int m = 0; m < 4; ++m) {
      uint32_t a[4];
      LdMatrixX4(a, inputs + RowOffset(position * kTiles + m * 16 + lane % 16, lane / 16 * 16));
#pragma unroll
      for (int n = 0; n < 4; ++n) Mma<Element<kPrecision>>(sum[p][m][n], a, b[n]);
    }
  }
}

template <Precision kPrecision>
__global__ void __launch_bounds__(kThreads, 1) WinogradF2MmaKernel(const Convolution layer) {
  using T = Element<kPrecision>;
  if (REPVGG_ARCH < 800) return Trap();
  unsigned char* const shared = SharedMemory();
  const int group_in = layer.group_in(), group_out = layer.group_out();
  const auto [first_tile, group, first_channel] = Place(group_out, layer.groups);
  const int steps = DivideUp(group_in, kDepth);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;

  // Layout: [group][step][position][output channel][input channel].
  const auto* const packed = static_cast<const unsigned char*>(layer.weight);
  const unsigned char* weight =
      packed + (static_cast<size_t>(group) * steps * kPositions * group_out + first_channel) * kRowBytes;
  const auto load_weights = [&](int step) {
    unsigned char* const to = shared + step % 2 * kStageBytes + kInputBytes;
#pragma unroll
    for (int i = 0; i < kPositions * kChannels * 2 / kThreads; ++i) {
      const int chunk = threadIdx.x + i * kThreads;
      const int row = chunk / 2, byte = chunk % 2 * 16;
      const int position = row / kChannels, channel = row % kChannels;
      const bool valid = first_channel + channel < group_out;
      CpAsync<16>(to + RowOffset(row, byte),
                  valid ? weight + (position * group_out + channel) * kRowBytes + byte : packed, valid);
    }
    CpAsyncCommit();
    weight += static_cast<size_t>(kPositions) * group_out * kRowBytes;
  };

  // Eight lanes load the eight pairs of channels of a tile: 32 bytes of each pixel.
  const int own_tile = threadIdx.x / kPairs, own_pair = threadIdx.x % kPairs;
  const T* const in = static_cast<const T*>(layer.in);
  static_assert(kItems == 2);
  const TileInput<2> inputs[] = {{layer, first_tile + own_tile, group * group_in + own_pair * 2},
                                 {layer, first_tile + own_tile + kTileStep, group * group_in + own_pair * 2}};
  uint32_t pixels[kItems][16];
  const auto load_inputs = [&](int step) {
    const int channel = step * kDepth;
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      inputs[i].LoadTile(pixels[i], channel, channel + own_pair * 2 < group_in,
                         [&](int at) { return *reinterpret_cast<const uint32_t*>(in + at); });
    }
  };
  constexpr float kScale = InputScale(kPrecision);
  const auto store_inputs = [&](int step) {
    unsigned char* const to = shared + step % 2 * kStageBytes;
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      float first[16], second[16];
#pragma unroll
      for (int p = 0; p < 16; ++p) {
        const float2 two = Unpack<T>(pixels[i][p]);
        first[p] = two.x, second[p] = two.y;
      }
      TransformInput<2>(first);
      TransformInput<2>(second);
#pragma unroll
      for (int p = 0; p < kPositions; ++p) {
        *reinterpret_cast<uint32_t*>(to + RowOffset(p * kTiles + own_tile + i * kTileStep, own_pair * 4)) =
            Pack<T>(first[p] * kScale, second[p] * kScale);
      }
    }
  };

  float sum[2][4][4][4] = {};  // [position][16 tiles][8 channels][fragment]
  RunSteps(steps, load_weights, load_inputs, store_inputs, [&](int step) {
    const unsigned char* const stage = shared + step % 2 * kStageBytes;
    MultiplyStep<kPrecision>(stage, stage + kInputBytes, sum);
  });

  float* const positions = reinterpret_cast<float*>(shared);  // [position][tile][channel]
#pragma unroll
  for (int half = 0; half < kChannels / kEpilogueChannels; ++half) {
    __syncthreads();
#pragma unroll
    for (int p = 0; p < 2; ++p) {
#pragma unroll
      for (int m = 0; m < 4; ++m) {
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          const float (&s)[4] = sum[p][m][half * 2 + n];
          const int row = (warp * 2 + p) * kTiles + m * 16 + lane / 4;
          float* const to = positions + row * kEpilogueChannels + n * 8 + lane % 4 * 2;
          *reinterpret_cast<float2*>(to) = make_float2(s[0], s[1]);
          *reinterpret_cast<float2*>(to + 8 * kEpilogueChannels) = make_float2(s[2], s[3]);
        }
      }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < kTiles * kEpilogueChannels / 2; i += kThreads) {
      const int tile = i / (kEpilogueChannels / 2), channel = i % (kEpilogueChannels / 2) * 2;
      const int out_channel = first_channel + half * kEpilogueChannels + channel;
      if (first_tile + tile >= WinogradTiles<2>(layer) || out_channel >= group_out) continue;
      float sums[2][kPositions];
#pragma unroll
      for (int p = 0; p < kPositions; ++p) {
        const float2 two =
            *reinterpret_cast<const float2*>(positions + (p * kTiles + tile) * kEpilogueChannels + channel);
        sums[0][p] = two.x, sums[1][p] = two.y;
      }
      WriteTile<kPrecision>(layer, first_tile + tile, group * group_out + out_channel, sums);
    }
  }
}

template <Precision kPrecision>
cudaError_t LaunchMma(const Convolution& layer, cudaStream_t stream) {
  if (!layer.fits() || !WinogradF2Fits(layer, kPrecision)) return cudaErrorInvalidValue;
  const int blocks = Place::Count(WinogradTiles<2>(layer), layer.group_out(), layer.groups);
  return Launch(WinogradF2MmaKernel<kPrecision>, dim3(blocks), dim3(kThreads), kSharedBytes, stream, layer);
}

template <Precision kPrecision>
constexpr ConvolutionTile kTable[] = {{kTiles, kChannels, kSharedBytes, true, &LaunchMma<kPrecision>}};

}  // namespace

extern const std::span<const ConvolutionTile> kWinogradF2Fp16, kWinogradF2Bf16;
const std::span<const ConvolutionTile> kWinogradF2Fp16 = kTable<Precision::kFp16>;
const std::span<const ConvolutionTile> kWinogradF2Bf16 = kTable<Precision::kBf16>;

}  // namespace repvgg::cuda
