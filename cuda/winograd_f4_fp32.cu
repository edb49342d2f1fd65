// Non-fused Winograd F(4x4, 3x3) in fp32 on the CUDA cores: 36 multiplications for 16 outputs, 4 times fewer
// than direct convolution and 1.78 times fewer than F(2x2).
//
// Three kernels, through device memory: the input transform, 36 batched GEMMs (tiles x input channels by
// input channels x output channels), and the inverse transform with bias and ReLU.
//
// Tiling, shared memory, registers. The transforms have one thread per tile and channel; the GEMMs are those
// of fp32_tile.cuh.
//
// Why it is not fused. A block's registers hold the accumulators of 36 positions for no more than about 16
// tiles x 32 channels. A thread then computes 4 x 4 of a position and loads 8 values for 16 multiply-adds,
// twice as many per multiply-add as the fused F(2x2) (16 for 64): with 128 multiply-adds and 128 bytes of
// shared memory per clock (GA102 and later) shared memory limits it to half of the peak, and the inputs are
// transformed again for every 32 channels. Through device memory the GEMMs run in tiles of up to 128 x 128.
//
// Where time goes. Predicted, not measured: the transformed domain has 2.9 values per value of a 14 x 14 map;
// input and output are written and read there, 11.8 times the size of the map in all. With 384 channels at 14
// x 14 and batch 128 an H200 (4.3 TB/s) needs 0.12 ms for memory traffic and 0.37 ms for multiply-adds at
// their peak rate, where fused F(2x2) needs 0.50 ms for multiply-adds; an RTX 3090 (0.94 TB/s) needs more
// than fused F(2x2). The chooser decides by measuring.
//
// Memory. The batch is processed in slices whose transforms fit 48 MB, about the L2 of an H200 (algorithm.h).
// Slices and tiles do not change results.
//
// Limits. Channels per group in multiples of 4.
#include "cuda/element.cuh"
#include "cuda/fp32_tile.cuh"
#include "cuda/launch.cuh"
#include "cuda/winograd.cuh"
#include "cuda/winograd_f4.h"

namespace repvgg::cuda {
namespace {

constexpr int kPositions = kPositionsOf<4>;
constexpr int kTransformThreads = 256;

// v is [position][tile][channel]. One thread per tile and channel.
__global__ void __launch_bounds__(kTransformThreads)
    WinogradF4InputKernel(const Convolution layer, float* v) {
  const int tiles = WinogradTiles<4>(layer), channels = layer.in_channels;
  const int index = blockIdx.x * kTransformThreads + threadIdx.x;
  if (index >= tiles * channels) return;
  const int tile = index / channels, channel = index - tile * channels;
  const float* const in = static_cast<const float*>(layer.in);
  float pixels[kPositions];
  TileInput<4>(layer, tile, channel).LoadTile(pixels, 0, true, [&](int at) { return in[at]; });
  TransformInput<4>(pixels);
#pragma unroll
  for (int p = 0; p < kPositions; ++p) v[p * tiles * channels + index] = pixels[p];
}

// m[position][tile][output channel] = v[position][tile][input channel] * weight, per group. blockIdx.y is the
// position.
template <typename T>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks)
    WinogradF4ProductKernel(const Convolution layer, const float* v, float* m) {
  unsigned char* const shared = SharedMemory();
  const int tiles = WinogradTiles<4>(layer);
  const int group_in = layer.group_in(), group_out = layer.group_out();
  const auto [first_tile, group, first_channel] = typename T::Place(group_out, layer.groups);
  const int position = blockIdx.y;
  const int steps = DivideUp(group_in, kStepValues);
  const int row = T::Row(), column = T::Column();

  // Each thread fills one 16-byte column of several rows.
  constexpr int kRowStep = T::kThreads / kStepChunks;
  static_assert(kRowStep % 8 == 0);  // All rows of a thread have the same swizzle.
  const int chunk = threadIdx.x % kStepChunks, first_row = threadIdx.x / kStepChunks;
  const float* const rows = v + (position * tiles + first_tile) * layer.in_channels + group * group_in;
  int channel = chunk * 4;
  // Layout: [group][position][step][16 values][output channel].
  const float* weight = static_cast<const float*>(layer.weight) +
                        static_cast<size_t>(group * kPositions + position) * steps * kStepValues * group_out +
                        first_channel;
  const auto load = [&](unsigned char* stage) {
#pragma unroll
    for (int i = 0; i < DivideUp(T::kPixels, kRowStep); ++i) {
      const int own = first_row + i * kRowStep;
      if (T::kPixels % kRowStep != 0 && own >= T::kPixels) break;
      const bool valid = first_tile + own < tiles && channel < group_in;
      CpAsync<16>(stage + SwizzledOffset(own, chunk), valid ? rows + own * layer.in_channels + channel : v,
                  valid);
    }
    LoadWeights<T>(stage, weight, group_out, group_out - first_channel);
    channel += kStepValues;
    weight += static_cast<size_t>(kStepValues) * group_out;
  };
  float sum[T::kThreadPixels][T::kVectors][4] = {};
  MultiplySteps<T>(shared, steps, row, column, sum, load, [](int) {});

#pragma unroll
  for (int i = 0; i < T::kThreadPixels; ++i) {
    const int tile = first_tile + row + i * T::kRows;
    if (tile >= tiles) continue;
    float* const to = m + (position * tiles + tile) * layer.out_channels + group * group_out;
#pragma unroll
    for (int n = 0; n < T::kVectors; ++n) {
      const int own = first_channel + (n * T::kColumns + column) * 4;
      if (own >= group_out) continue;
      const float (&s)[4] = sum[i][n];
      *reinterpret_cast<float4*>(to + own) = make_float4(s[0], s[1], s[2], s[3]);
    }
  }
}

// One thread per tile and channel.
__global__ void __launch_bounds__(kTransformThreads)
    WinogradF4OutputKernel(const Convolution layer, const float* m) {
  const int tiles = WinogradTiles<4>(layer), channels = layer.out_channels;
  const int index = blockIdx.x * kTransformThreads + threadIdx.x;
  if (index >= tiles * channels) return;
  const int tile = index / channels, channel = index - tile * channels;
  float sums[kPositions];
#pragma unroll
  for (int p = 0; p < kPositions; ++p) sums[p] = m[p * tiles * channels + index];
  float out[4][4];
  TransformOutput<4>(sums, out);
  const float bias = layer.bias[channel];
  const TilePlace<4> place(layer, tile);
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    const int y = place.y + i / 4, x = place.x + i % 4;
    if (y >= layer.height || x >= layer.width) continue;
    float value = out[i / 4][i % 4] + bias;
    if (layer.relu) value = Relu(value);
    const size_t pixel = (static_cast<size_t>(place.image) * layer.height + y) * layer.width + x;
    static_cast<float*>(layer.out)[pixel * channels + channel] = value;
  }
}

template <typename T>
cudaError_t LaunchTile(const Convolution& layer, cudaStream_t stream) {
  if (!layer.fits() || !WinogradF4Fits(layer)) return cudaErrorInvalidValue;
  const int tiles = WinogradTiles<4>(layer);
  float* const v = static_cast<float*>(layer.workspace);
  float* const m = v + static_cast<size_t>(kPositions) * tiles * layer.in_channels;
  const auto transform_blocks = [&](int channels) {
    return dim3(DivideUp(tiles * channels, kTransformThreads));
  };
  cudaError_t error = Launch(WinogradF4InputKernel, transform_blocks(layer.in_channels),
                             dim3(kTransformThreads), 0, stream, layer, v);
  if (error != cudaSuccess) return error;
  const int blocks = T::Place::Count(tiles, layer.group_out(), layer.groups);
  error = Launch(WinogradF4ProductKernel<T>, dim3(blocks, kPositions), dim3(T::kThreads), T::kSharedBytes,
                 stream, layer, v, m);
  if (error != cudaSuccess) return error;
  return Launch(WinogradF4OutputKernel, transform_blocks(layer.out_channels), dim3(kTransformThreads), 0,
                stream, layer, m);
}

template <typename T>
constexpr ConvolutionTile kTile = {T::kPixels, T::kChannels, T::kSharedBytes, true, &LaunchTile<T>};

// Widths divide the networks' channels per group, as in direct_fp32.cu.
constexpr ConvolutionTile kTiles[] = {kTile<Fp32Tile<64, 64, 8>>,    //
                                      kTile<Fp32Tile<256, 32, 8>>,   //
                                      kTile<Fp32Tile<256, 40, 8>>,   //
                                      kTile<Fp32Tile<256, 48, 12>>,  //
                                      kTile<Fp32Tile<128, 64, 8>>,   //
                                      kTile<Fp32Tile<128, 80, 8>>,   //
                                      kTile<Fp32Tile<128, 96, 12>>,  //
                                      kTile<Fp32Tile<128, 128, 8>>};

}  // namespace

std::span<const ConvolutionTile> WinogradF4TileTable() { return kTiles; }

}  // namespace repvgg::cuda
