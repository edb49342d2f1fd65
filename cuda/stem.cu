// The first layer on the CUDA cores: uint8 pixels in, normalisation, conv3x3 of stride 2 over three channels,
// bias, ReLU, a map of the network's precision out.
//
// Padding is zero after normalisation, so the mean cannot be folded into the bias at the border. Pixels are
// normalised on their way into shared memory, through a table of 3 x 256 values that the host computes, which
// makes them bit-identical to the CPU's.
//
// Tiling. A block of 128 threads computes 8 x 16 output pixels of one image x kChannels (64, 48, 32 or 16)
// channels, a thread 8 pixels of a row x kChannels / 8 channels. It loads the 17 pixels of a row that the
// three taps share once.
//
// Shared memory. 17 x 33 pixels x 3 channels (rows padded to 36) and 27 x kChannels weights: 14 KB for 64
// channels.
//
// Registers per thread. 64 accumulators, 17 pixels, up to 8 weights.
//
// Where time goes. Predicted, not measured: on an H200, in fp32 with 64 channels, writing the map (3.2 MB an
// image) and the multiply-adds take about equally long.
//
// Limits. Any size and number of channels; not fp8. stem_mma.cu replaces it where it can (StemMmaFits).
#include "cuda/element.cuh"
#include "cuda/launch.cuh"
#include "cuda/stem.h"

namespace repvgg::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kTileHeight = 8;
constexpr int kTileWidth = 16;
constexpr int kThreadPixels = 8;
constexpr int kColumnThreads = 8;  // Threads along the channels.
constexpr int kPatchHeight = 2 * kTileHeight + 1;
constexpr int kPatchWidth = 2 * kTileWidth + 1;
constexpr int kPatchPitch = 36;  // Rows start at multiples of 16 bytes.
constexpr int kPatchPlane = kPatchHeight * kPatchPitch;

template <Precision kPrecision, int kChannels>
__global__ void __launch_bounds__(kThreads) StemKernel(const Stem stem) {
  constexpr int kPairs = kChannels / (2 * kColumnThreads);
  float* const patch = reinterpret_cast<float*>(SharedMemory());  // [channel][row][column]
  float* const weights = patch + 3 * kPatchPlane;                 // [channel][row][column][output channel]

  const int out_height = stem.out_height(), out_width = stem.out_width();
  const int tiles_x = DivideUp(out_width, kTileWidth), tiles_y = DivideUp(out_height, kTileHeight);
  const int image = blockIdx.x / (tiles_x * tiles_y);
  const int out_y = blockIdx.x / tiles_x % tiles_y * kTileHeight;
  const int out_x = blockIdx.x % tiles_x * kTileWidth;
  const int first_channel = blockIdx.y * kChannels;

  const uint8_t* const in = stem.in + static_cast<size_t>(image) * stem.height * stem.width * 3;
  for (int i = threadIdx.x; i < kPatchHeight * kPatchWidth * 3; i += kThreads) {
    const int row = i / (kPatchWidth * 3), column = i / 3 % kPatchWidth, channel = i % 3;
    const int y = 2 * out_y - 1 + row, x = 2 * out_x - 1 + column;
    const bool inside = y >= 0 && y < stem.height && x >= 0 && x < stem.width;
    patch[channel * kPatchPlane + row * kPatchPitch + column] =
        inside ? stem.normalized[channel * 256 + in[(y * stem.width + x) * 3 + channel]] : 0;
  }
  const int packed = DivideUp(stem.out_channels, kStemPackedChannels) * kStemPackedChannels;
  for (int i = threadIdx.x; i < 27 * kChannels; i += kThreads) {
    weights[i] = stem.weight[i / kChannels * packed + first_channel + i % kChannels];
  }
  __syncthreads();

  const int column_thread = threadIdx.x % kColumnThreads;
  const int strip = threadIdx.x / kColumnThreads;  // 8 pixels of a row.
  const int row = strip / 2, column = strip % 2 * kThreadPixels;
  float sum[kThreadPixels][kPairs][2] = {};
#pragma unroll 1
  for (int line = 0; line < 9; ++line) {  // Input channel and row of the kernel.
    const float* const from =
        patch + line / 3 * kPatchPlane + (2 * row + line % 3) * kPatchPitch + 2 * column;
    float pixels[2 * kThreadPixels + 1];
#pragma unroll
    for (int i = 0; i < 2 * kThreadPixels; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(from + i);
      pixels[i] = four.x, pixels[i + 1] = four.y, pixels[i + 2] = four.z, pixels[i + 3] = four.w;
    }
    pixels[2 * kThreadPixels] = from[2 * kThreadPixels];
#pragma unroll
    for (int tap = 0; tap < 3; ++tap) {
#pragma unroll
      for (int v = 0; v < kPairs; ++v) {
        const float2 weight = *reinterpret_cast<const float2*>(weights + (line * 3 + tap) * kChannels +
                                                               (v * kColumnThreads + column_thread) * 2);
#pragma unroll
        for (int i = 0; i < kThreadPixels; ++i) {
          sum[i][v][0] += pixels[2 * i + tap] * weight.x;
          sum[i][v][1] += pixels[2 * i + tap] * weight.y;
        }
      }
    }
  }

  const int y = out_y + row;
  auto* const out = static_cast<Element<kPrecision>*>(stem.out) +
                    (static_cast<size_t>(image) * out_height + y) * out_width * stem.out_channels;
#pragma unroll
  for (int v = 0; v < kPairs; ++v) {
    const int channel = first_channel + (v * kColumnThreads + column_thread) * 2;
    const float bias0 = channel < stem.out_channels ? stem.bias[channel] : 0;
    const float bias1 = channel + 1 < stem.out_channels ? stem.bias[channel + 1] : 0;
#pragma unroll
    for (int i = 0; i < kThreadPixels; ++i) {
      const int x = out_x + column + i;
      if (y >= out_height || x >= out_width || channel >= stem.out_channels) continue;
      float first = sum[i][v][0] + bias0, second = sum[i][v][1] + bias1;
      if (stem.relu) first = Relu(first), second = Relu(second);
      auto* const to = out + x * stem.out_channels + channel;
      if (stem.out_channels % 2 == 0) {
        StorePair<kPrecision>(to, first, second);
      } else {
        StoreOne<kPrecision>(to, first);
        if (channel + 1 < stem.out_channels) StoreOne<kPrecision>(to + 1, second);
      }
    }
  }
}

template <Precision kPrecision, int kChannels>
cudaError_t LaunchWidth(const Stem& stem, cudaStream_t stream) {
  const int tiles =
      DivideUp(stem.out_width(), kTileWidth) * DivideUp(stem.out_height(), kTileHeight) * stem.batch;
  return Launch(StemKernel<kPrecision, kChannels>, dim3(tiles, DivideUp(stem.out_channels, kChannels)),
                dim3(kThreads), (3 * kPatchPlane + 27 * kChannels) * sizeof(float), stream, stem);
}

}  // namespace

std::vector<float> PackStem(const float* weight, int out_channels) {
  const int packed_channels = DivideUp(out_channels, kStemPackedChannels) * kStemPackedChannels;
  std::vector<float> packed(27 * packed_channels);
  for (int k = 0; k < out_channels; ++k) {
    for (int i = 0; i < 27; ++i) packed[i * packed_channels + k] = weight[k * 27 + i];
  }
  return packed;
}

cudaError_t LaunchStem(const Stem& stem, Precision out_precision, cudaStream_t stream) {
  if (StemMmaFits(stem, out_precision)) return LaunchStemMma(stem, out_precision, stream);
  return WithPrecision(out_precision, [&]<Precision kPrecision>() {
    if (stem.out_channels <= 16) return LaunchWidth<kPrecision, 16>(stem, stream);
    if (stem.out_channels <= 32) return LaunchWidth<kPrecision, 32>(stem, stream);
    if (stem.out_channels <= 48) return LaunchWidth<kPrecision, 48>(stem, stream);
    return LaunchWidth<kPrecision, 64>(stem, stream);
  });
}

}  // namespace repvgg::cuda
