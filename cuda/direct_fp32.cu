// Direct convolution in fp32 on the CUDA cores: an implicit GEMM with bias and ReLU in the epilogue.
//
// Tiling, shared memory, registers, where time goes. A block computes kPixels output pixels x kChannels
// output channels of one group, as fp32_tile.cuh describes.
//
// Limits. Any channels; element-wise copies where a group's channels do not fill 16-byte chunks.
#include "cuda/direct_fp32.h"
#include "cuda/element.cuh"
#include "cuda/fp32_tile.cuh"
#include "cuda/launch.cuh"

namespace repvgg::cuda {
namespace {

// Every 1024 values of the reduction the accumulators are added to the output and restart at zero: the
// rounding error of one sequential sum grows with the square root of its length, to 1e-6 at 768 channels.
constexpr int kSegmentSteps = 64;

template <int kPixelsOfTile, int kChannelsOfTile, int kChannelsOfThread, bool kAlignedChannels>
struct Tile : Fp32Tile<kPixelsOfTile, kChannelsOfTile, kChannelsOfThread> {
  static constexpr bool kAligned = kAlignedChannels;
};

// Adds the output's previous partial sums (`resume`), then bias and ReLU (`last`), and writes the output.
// Clears `sum`.
template <typename T>
REPVGG_DEVICE void WriteSums(const Convolution& layer, int first_pixel, int group, int first_channel,
                             bool resume, bool last, float (&sum)[T::kThreadPixels][T::kVectors][4]) {
  const int group_out = layer.group_out();
#pragma unroll
  for (int v = 0; v < T::kVectors; ++v) {
    const int channel = first_channel + v * T::kColumns * 4;
    const int count = group_out - channel;  // Fewer than 4: the vector is partial.
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
  const auto [first_pixel, group, first_channel] = typename T::Place(group_out, layer.groups);
  const int steps = ReductionSteps(layer.group_in(), 4);
  const int row = T::Row(), column = T::Column();

  PixelTile<float, T::kPixels, T::kThreads, T::kAligned> pixels(layer, first_pixel, group);
  // Layout: [group][step][16 values][channel, padded to a multiple of 4].
  const float* const packed = static_cast<const float*>(layer.weight);
  const float* weight =
      packed + static_cast<size_t>(group) * steps * kStepValues * padded_out + first_channel;

  float sum[T::kThreadPixels][T::kVectors][4] = {};
  const auto load = [&](unsigned char* stage) {
    pixels.LoadNext(stage);
    LoadWeights<T>(stage, weight, padded_out, padded_out - first_channel);
    weight += static_cast<size_t>(kStepValues) * padded_out;
  };
  const auto write = [&](bool resume, bool last) {
    WriteSums<T>(layer, first_pixel + row, group, first_channel + column * 4, resume, last, sum);
  };
  MultiplySteps<T>(shared, steps, row, column, sum, load, [&](int step) {
    if ((step + 1) % kSegmentSteps == 0 && step + 1 < steps) write(step >= kSegmentSteps, false);
  });
  write(steps > kSegmentSteps, true);
}

template <typename T>
cudaError_t LaunchTile(const Convolution& layer, cudaStream_t stream) {
  const bool aligned = layer.group_in() % 4 == 0 && layer.group_out() % 4 == 0;
  if (!layer.fits() || (T::kAligned && !aligned)) return cudaErrorInvalidValue;
  const int blocks = T::Place::Count(layer.pixels(), layer.group_out(), layer.groups);
  return Launch(DirectFp32Kernel<T>, dim3(blocks), dim3(T::kThreads), T::kSharedBytes, stream, layer);
}

template <typename T>
constexpr ConvolutionTile kTile = {T::kPixels, T::kChannels, T::kSharedBytes, T::kAligned, &LaunchTile<T>};

// Widths divide the networks' channels per group (32, 40, 48, 64, 80, 96, 128, 160, 192 and multiples). The
// first tile serves channels that do not fill 16-byte chunks.
constexpr ConvolutionTile kTiles[] = {kTile<Tile<64, 64, 8, false>>,   //
                                      kTile<Tile<64, 64, 8, true>>,    //
                                      kTile<Tile<64, 128, 8, true>>,   //
                                      kTile<Tile<256, 32, 8, true>>,   //
                                      kTile<Tile<256, 40, 8, true>>,   //
                                      kTile<Tile<256, 48, 12, true>>,  //
                                      kTile<Tile<128, 64, 8, true>>,   //
                                      kTile<Tile<128, 80, 8, true>>,   //
                                      kTile<Tile<128, 96, 12, true>>,  //
                                      kTile<Tile<128, 128, 8, true>>,  //
                                      kTile<Tile<128, 192, 12, true>>};

}  // namespace

std::span<const ConvolutionTile> DirectFp32TileTable() { return kTiles; }

std::vector<unsigned char> PackDirectFp32(const Convolution& layer, const float* weight) {
  const int group_in = layer.group_in(), group_out = layer.group_out();
  const int padded_out = DivideUp(group_out, 4) * 4;
  const int chunks = DivideUp(group_in, 4);
  const int steps = ReductionSteps(group_in, 4);
  const size_t values = static_cast<size_t>(layer.groups) * steps * kStepValues * padded_out;
  std::vector<unsigned char> packed(values * sizeof(float));
  for (int group = 0; group < layer.groups; ++group) {
    ReductionPosition position(chunks);
    for (int i = 0; i < steps * kStepChunks && position.block_chunks > 0; ++i) {
      const int first = (position.first_chunk + position.chunk) * 4;
      for (int e = 0; e < 4 && first + e < group_in; ++e) {
        float* const to = reinterpret_cast<float*>(packed.data()) +
                          ((static_cast<size_t>(group) * steps * kStepChunks + i) * 4 + e) * padded_out;
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

}  // namespace repvgg::cuda
