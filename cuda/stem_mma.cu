// The first layer on tensor cores (mma.sync), for maps of fp16, bf16 and fp8: what stem.cu does with
// multiply-adds.
//
// Exactness. A pixel's bytes are exact in fp16, so normalisation goes to the other side: weights times the
// slope of a channel's normalisation, bias plus its value at 0. Each weight is the sum of two fp16 values,
// after dividing by the largest of its output channel: 22 bits and more. Padding is 0 after normalisation,
// which is not byte 0: what the taps outside the image add to the bias is taken off at the border again.
//
// Tiling. A block does tiles of 16 x 16 output pixels of one image, one after the other, with 8 kTiles
// channels. A warp has 16 pixels of a row at a time. The 27 values of a window are three runs of nine in
// memory; as five pairs each they fill 30 of the 32 places of two steps, with no weight for the others.
//
// Shared memory. A patch of 33 x 33 pixels as fp16, scales and biases: 9 KB.
//
// Registers. Weights stay there: 8 kTiles, beside 4 kTiles sums.
//
// Where time goes. Expected, not measured: writing the map. On an H200 at batch 128 and 64 channels that is
// 48 us at 4.3 TB/s, where stem.cu's multiply-adds alone take 94 us at their peak.
//
// Limits. sm_75, for fp8 sm_90. Channels in multiples of 8.
#include "cuda/element.cuh"
#include "cuda/stem.h"

namespace repvgg::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kBlocksOfMultiprocessor = 3;
constexpr int kTileSide = 16;
constexpr int kPatchSide = 2 * kTileSide + 1;
constexpr int kPatchPitch =
    50;  // Words of two values: three pixels fill four and a half, a row 49 and a half.
constexpr int kPackedChannels = 64;
constexpr int kPairs = 15;  // Of a window, five in a row.

// The channel of column n of tile j: each quarter of a warp gets 8 neighbours of 32, or 4 of the last 16.
template <int kTiles>
REPVGG_DEVICE constexpr int ChannelOf(int j, int n) {
  constexpr int kWide = kTiles / 4 * 4;
  return j < kWide ? j / 4 * 32 + n / 2 * 8 + j % 4 * 2 + n % 2
                   : kWide * 8 + n / 2 * 4 + (j - kWide) * 2 + n % 2;
}

template <Precision kPrecision, int kTiles>
__global__ void __launch_bounds__(kThreads, kBlocksOfMultiprocessor) StemMmaKernel(const Stem stem) {
  if (REPVGG_ARCH < 750) return;
  using T = Element<kPrecision>;
  constexpr int kChannels = 8 * kTiles;
  float* const scale = reinterpret_cast<float*>(SharedMemory());
  float* const bias = scale + kChannels;
  float* const taps = bias + kChannels;  // [tap][channel]: its part of the bias.
  uint32_t* const patch = reinterpret_cast<uint32_t*>(taps + 9 * kChannels);
  const int first_channel = blockIdx.y * kChannels;
  const int packed = DivideUp(stem.out_channels, kPackedChannels) * kPackedChannels;
  const float* const weights = stem.weight + first_channel;
  const auto weight = [&](int c, int tap, int channel) { return weights[(c * 9 + tap) * packed + channel]; };
  const auto slope = [&](int c) { return (stem.normalized[c * 256 + 255] - stem.normalized[c * 256]) / 255; };

  if (threadIdx.x < kChannels) {
    const int channel = threadIdx.x;
    float largest = 0,
          total = first_channel + channel < stem.out_channels ? stem.bias[first_channel + channel] : 0;
    for (int tap = 0; tap < 9; ++tap) {
      float sum = 0;
      for (int c = 0; c < 3; ++c) {
        const float own = weight(c, tap, channel), size = own * slope(c);
        largest = size > largest ? size : -size > largest ? -size : largest;
        sum += own * stem.normalized[c * 256];
      }
      taps[tap * kChannels + channel] = sum;
      total += sum;
    }
    scale[channel] = largest > 0 ? largest : 1;
    bias[channel] = total;
  }
  __syncthreads();

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  uint32_t high[2][kTiles][2], low[2][kTiles][2];
  int offset[2][2];  // Of this lane's pairs of a window, in words of the patch.
#pragma unroll
  for (int step = 0; step < 2; ++step) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int pair = step * 8 + half * 4 + t, row = pair / 5;
      offset[step][half] = pair < kPairs ? row * kPatchPitch + pair % 5 : 0;
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {
        const int channel = ChannelOf<kTiles>(j, g);
        float value[2];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int place = pair % 5 * 2 + e;  // Of the nine in a row of the window.
          value[e] = pair < kPairs && place < 9
                         ? weight(place % 3, row * 3 + place / 3, channel) * slope(place % 3) / scale[channel]
                         : 0;
        }
        high[step][j][half] = Pack<Half>(value[0], value[1]);
        low[step][j][half] = Pack<Half>(value[0] - ToFloat(FromFloat<Half>(value[0])),
                                        value[1] - ToFloat(FromFloat<Half>(value[1])));
      }
    }
  }

  const int out_height = stem.out_height(), out_width = stem.out_width();
  const int tiles_x = DivideUp(out_width, kTileSide), tiles_y = DivideUp(out_height, kTileSide);
  for (int tile = blockIdx.x; tile < tiles_x * tiles_y * stem.batch; tile += gridDim.x) {
    const int image = tile / (tiles_x * tiles_y);
    const int first_y = tile / tiles_x % tiles_y * kTileSide, first_x = tile % tiles_x * kTileSide;
    const uint8_t* const in = stem.in + static_cast<size_t>(image) * stem.height * stem.width * 3;
    for (int i = threadIdx.x; i < kPatchSide * kPatchPitch; i += kThreads) {
      const int row = i / kPatchPitch, y = 2 * first_y - 1 + row;
      float value[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int byte = i % kPatchPitch * 2 + e, x = 2 * first_x - 1 + byte / 3;
        const bool inside = byte < kPatchSide * 3 && y >= 0 && y < stem.height && x >= 0 && x < stem.width;
        value[e] = inside ? in[(y * stem.width + x) * 3 + byte % 3] : 0;
      }
      patch[i] = Pack<Half>(value[0], value[1]);
    }
    __syncthreads();

    for (int row = warp; row < kTileSide; row += kThreads / 32) {
      float sum[kTiles][4] = {};
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        const uint32_t* const window = patch + 2 * row * kPatchPitch + 3 * g;
        const uint32_t a[4] = {window[offset[step][0]], window[offset[step][0] + 24], window[offset[step][1]],
                               window[offset[step][1] + 24]};
#pragma unroll
        for (int j = 0; j < kTiles; ++j) Mma<Half>(sum[j], a, high[step][j]);
#pragma unroll
        for (int j = 0; j < kTiles; ++j) Mma<Half>(sum[j], a, low[step][j]);
      }
      const int y = first_y + row;
      if (y >= out_height) continue;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int x = first_x + half * 8 + g;
        if (x >= out_width) continue;
        const unsigned outside = (y == 0 ? 0x007u : 0u) | (2 * y + 1 >= stem.height ? 0x1c0u : 0u) |
                                 (x == 0 ? 0x049u : 0u) | (2 * x + 1 >= stem.width ? 0x124u : 0u);
        uint32_t words[kTiles];
#pragma unroll
        for (int j = 0; j < kTiles; ++j) {
          const int channel = ChannelOf<kTiles>(j, 2 * t);
          float one = sum[j][half * 2] * scale[channel] + bias[channel];
          float other = sum[j][half * 2 + 1] * scale[channel + 1] + bias[channel + 1];
          for (int tap = 0; outside >> tap != 0; ++tap) {
            if ((outside >> tap & 1) == 0) continue;
            one -= taps[tap * kChannels + channel], other -= taps[tap * kChannels + channel + 1];
          }
          if (stem.relu) one = Relu(one), other = Relu(other);
          words[j] = Pack<T>(one, other);
        }
        T* const to = static_cast<T*>(stem.out) +
                      ((static_cast<size_t>(image) * out_height + y) * out_width + x) * stem.out_channels +
                      first_channel;
#pragma unroll
        for (int j = 0; j + 1 < kTiles; j += j + 4 <= kTiles ? 4 : 2) {
          const int channel = ChannelOf<kTiles>(j, 2 * t);
          if (first_channel + channel >= stem.out_channels) continue;
          if constexpr (kPrecision == Precision::kFp8) {
            const uint32_t four = words[j] | words[j + 1] << 16;
            if (j + 4 <= kTiles) {
              *reinterpret_cast<uint2*>(to + channel) =
                  make_uint2(four, words[(j + 2) % kTiles] | words[(j + 3) % kTiles] << 16);
            } else {
              *reinterpret_cast<uint32_t*>(to + channel) = four;
            }
          } else if (j + 4 <= kTiles) {
            *reinterpret_cast<uint4*>(to + channel) =
                make_uint4(words[j], words[j + 1], words[(j + 2) % kTiles], words[(j + 3) % kTiles]);
          } else {
            *reinterpret_cast<uint2*>(to + channel) = make_uint2(words[j], words[j + 1]);
          }
        }
      }
    }
    __syncthreads();
  }
}

template <Precision kPrecision, int kTiles>
cudaError_t LaunchWidth(const Stem& stem, cudaStream_t stream) {
  int device = 0, multiprocessors = 0;
  if (const auto error = cudaGetDevice(&device); error != cudaSuccess) return error;
  const auto error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  if (error != cudaSuccess) return error;
  const int tiles =
      DivideUp(stem.out_width(), kTileSide) * DivideUp(stem.out_height(), kTileSide) * stem.batch;
  const int across = DivideUp(stem.out_channels, 8 * kTiles);
  const int blocks = DivideUp(multiprocessors * kBlocksOfMultiprocessor, across);
  return Launch(StemMmaKernel<kPrecision, kTiles>, dim3(blocks < tiles ? blocks : tiles, across),
                dim3(kThreads), (11 * 8 * kTiles + kPatchSide * kPatchPitch) * 4, stream, stem);
}

template <Precision kPrecision>
cudaError_t LaunchPrecision(const Stem& stem, cudaStream_t stream) {
  if (stem.out_channels <= 16) return LaunchWidth<kPrecision, 2>(stem, stream);
  if (stem.out_channels <= 32) return LaunchWidth<kPrecision, 4>(stem, stream);
  if (stem.out_channels <= 48) return LaunchWidth<kPrecision, 6>(stem, stream);
  return LaunchWidth<kPrecision, 8>(stem, stream);
}

}  // namespace

bool StemMmaFits(const Stem& stem, Precision out_precision) {
  if (stem.out_channels % 8 != 0) return false;
  if (out_precision == Precision::kFp8) return true;  // Only where the GPU has it: cuda_backend.cc.
  const bool halves = out_precision == Precision::kFp16 || out_precision == Precision::kBf16;
  return halves && MachineCode(StemMmaKernel<Precision::kFp16, 8>) >= 75;
}

cudaError_t LaunchStemMma(const Stem& stem, Precision out_precision, cudaStream_t stream) {
  return out_precision == Precision::kFp8    ? LaunchPrecision<Precision::kFp8>(stem, stream)
         : out_precision == Precision::kFp16 ? LaunchPrecision<Precision::kFp16>(stem, stream)
                                             : LaunchPrecision<Precision::kBf16>(stem, stream);
}

}  // namespace repvgg::cuda
