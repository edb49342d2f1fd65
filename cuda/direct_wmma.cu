// Direct convolution in fp16 on the tensor cores of Volta and Turing, which have no cp.async (nor, on Volta,
// ldmatrix): the implicit GEMM of direct_mma.cuh by the wmma API, with fp32 accumulators, bias and ReLU.
//
// Tiling. As in direct_mma.cuh: kPixels x kChannels outputs of one group per block, steps of 32 channels;
// warps compute 16 x 16 x 16 products.
//
// Shared memory. Two stages of (kPixels + kChannels) rows of 80 bytes (64 plus 16 of padding against bank
// conflicts). A step's operands are loaded into registers before the previous step's products and stored to
// shared memory after them. The layout of accumulator fragments is not documented, so the epilogue writes the
// whole tile to shared memory as floats: 68 KB at 128 x 128, which Turing does not have.
//
// Registers per thread. Up to 128 accumulators, and 4 to 8 chunks of 16 bytes in flight.
//
// Where time goes. Predicted, not measured: the tensor cores at 128 x 128, shared memory in narrow tiles.
//
// Limits. sm_70 and up (later architectures have better kernels). Channels per group in multiples of 8.
#include "cuda/block_place.cuh"
#include "cuda/direct_wmma.h"
#include "cuda/element.cuh"
#include "cuda/implicit_gemm.cuh"
#include "cuda/launch.cuh"

namespace repvgg::cuda {
namespace {

template <int kPixelsOfTile, int kChannelsOfTile, int kWarpsAlongM, int kWarpsAlongN>
struct Tile {
  static constexpr int kPixels = kPixelsOfTile;
  static constexpr int kChannels = kChannelsOfTile;
  static constexpr int kWarpsM = kWarpsAlongM;
  static constexpr int kThreads = 32 * kWarpsAlongM * kWarpsAlongN;
  static constexpr int kTilesM = kPixels / kWarpsAlongM / 16;
  static constexpr int kTilesN = kChannels / kWarpsAlongN / 16;
  static_assert(kTilesM * 16 * kWarpsAlongM == kPixels && kTilesN * 16 * kWarpsAlongN == kChannels);

  using Place = BlockPlace<kPixels, kChannels>;
  using Pixels = PixelTile<Half, kPixels, kThreads, true, PaddedRows>;
  static constexpr int kPixelChunks = kPixels * kStepChunks / kThreads;  // Per thread and step.
  static constexpr int kWeightChunks = DivideUp(kChannels * kStepChunks, kThreads);
  static_assert(kPixelChunks * kThreads == kPixels * kStepChunks);
  static constexpr int kStageBytes = Pixels::kBytes + kChannels * PaddedRows::kPitch;
  static constexpr int kOutPitch = kChannels + 8;  // In floats; 16 x 16 tiles stay aligned to 32 bytes.
  static constexpr int kOutBytes = kPixels * kOutPitch * 4;
  static constexpr int kSharedBytes = 2 * kStageBytes > kOutBytes ? 2 * kStageBytes : kOutBytes;
};

template <typename T>
__global__ void __launch_bounds__(T::kThreads) DirectWmmaKernel(const Convolution layer) {
  constexpr int kPerChunk = T::Pixels::kPerChunk;
  constexpr int kPitch = PaddedRows::kPitch / 2;  // In values.
  unsigned char* const shared = SharedMemory();
  const int group_out = layer.group_out();
  const auto [first_pixel, group, first_channel] = typename T::Place(group_out, layer.groups);
  const int steps = ReductionSteps(layer.group_in(), kPerChunk);

  typename T::Pixels pixels(layer, first_pixel, group);
  const auto* weight = static_cast<const unsigned char*>(layer.weight) +
                       (static_cast<size_t>(group) * steps * group_out + first_channel) * kRowBytes;
  const int valid_chunks = (group_out - first_channel) * kStepChunks;
  uint4 next_pixels[T::kPixelChunks], next_weights[T::kWeightChunks];
  const auto fetch = [&] {
    pixels.FetchNext(next_pixels);
#pragma unroll
    for (int i = 0; i < T::kWeightChunks; ++i) {
      const int chunk = threadIdx.x + i * T::kThreads;
      next_weights[i] = make_uint4(0, 0, 0, 0);
      if (chunk < T::kChannels * kStepChunks && chunk < valid_chunks) {
        next_weights[i] = *reinterpret_cast<const uint4*>(weight + chunk * kChunkBytes);
      }
    }
    weight += static_cast<size_t>(group_out) * kRowBytes;
  };
  const auto store = [&](unsigned char* stage) {
    pixels.Store(stage, next_pixels);
#pragma unroll
    for (int i = 0; i < T::kWeightChunks; ++i) {
      const int chunk = threadIdx.x + i * T::kThreads;
      if (chunk >= T::kChannels * kStepChunks) break;
      *reinterpret_cast<uint4*>(stage + T::Pixels::kBytes +
                                PaddedRows::Offset(chunk / kStepChunks, chunk % kStepChunks)) =
          next_weights[i];
    }
  };

  const int warp = threadIdx.x / 32;
  const int warp_pixel = warp % T::kWarpsM * T::kTilesM * 16,
            warp_channel = warp / T::kWarpsM * T::kTilesN * 16;
  WmmaSum sum[T::kTilesM][T::kTilesN];
#pragma unroll
  for (int m = 0; m < T::kTilesM; ++m) {
#pragma unroll
    for (int n = 0; n < T::kTilesN; ++n) WmmaClear(sum[m][n]);
  }
  fetch();
  store(shared);
  for (int step = 0; step < steps; ++step) {
    // This step's operands are complete, and all threads have read the previous stage, which is filled next.
    __syncthreads();
    if (step + 1 < steps) fetch();
    unsigned char* const stage = shared + step % 2 * T::kStageBytes;
    const Half* const values = reinterpret_cast<const Half*>(stage) + warp_pixel * kPitch;
    const Half* const weights =
        reinterpret_cast<const Half*>(stage + T::Pixels::kBytes) + warp_channel * kPitch;
#pragma unroll
    for (int k = 0; k < kRowBytes / 2; k += 16) {
      WmmaPixels a[T::kTilesM];
#pragma unroll
      for (int m = 0; m < T::kTilesM; ++m) WmmaLoad(a[m], values + m * 16 * kPitch + k, kPitch);
#pragma unroll
      for (int n = 0; n < T::kTilesN; ++n) {
        WmmaWeights b;
        WmmaLoad(b, weights + n * 16 * kPitch + k, kPitch);
#pragma unroll
        for (int m = 0; m < T::kTilesM; ++m) WmmaMultiply(sum[m][n], a[m], b);
      }
    }
    if (step + 1 < steps) store(shared + (step + 1) % 2 * T::kStageBytes);
  }

  __syncthreads();
  float* const tile = reinterpret_cast<float*>(shared);
#pragma unroll
  for (int m = 0; m < T::kTilesM; ++m) {
#pragma unroll
    for (int n = 0; n < T::kTilesN; ++n) {
      WmmaStore(tile + (warp_pixel + m * 16) * T::kOutPitch + warp_channel + n * 16, sum[m][n], T::kOutPitch);
    }
  }
  __syncthreads();
  constexpr int kRowChunks = T::kChannels / kPerChunk;
  Half* const out = static_cast<Half*>(layer.out) + static_cast<size_t>(first_pixel) * layer.out_channels +
                    group * group_out + first_channel;
  const float* const bias = layer.bias + group * group_out + first_channel;
  for (int i = threadIdx.x; i < T::kPixels * kRowChunks; i += T::kThreads) {
    const int pixel = i / kRowChunks, channel = i % kRowChunks * kPerChunk;
    if (first_pixel + pixel >= layer.pixels() || first_channel + channel >= group_out) continue;
    uint32_t words[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float2 two = *reinterpret_cast<const float2*>(tile + pixel * T::kOutPitch + channel + 2 * e);
      float first = two.x + bias[channel + 2 * e], second = two.y + bias[channel + 2 * e + 1];
      if (layer.relu) first = Relu(first), second = Relu(second);
      words[e] = Pack<Half>(first, second);
    }
    *reinterpret_cast<uint4*>(out + pixel * layer.out_channels + channel) =
        make_uint4(words[0], words[1], words[2], words[3]);
  }
}

template <typename T>
cudaError_t LaunchTile(const Convolution& layer, cudaStream_t stream) {
  if (!layer.fits() || layer.group_in() % 8 != 0 || layer.group_out() % 8 != 0) return cudaErrorInvalidValue;
  const int blocks = T::Place::Count(layer.pixels(), layer.group_out(), layer.groups);
  return Launch(DirectWmmaKernel<T>, dim3(blocks), dim3(T::kThreads), T::kSharedBytes, stream, layer);
}

template <typename T>
constexpr ConvolutionTile kTile = {T::kPixels, T::kChannels, T::kSharedBytes, true, &LaunchTile<T>};

// Groups of 40 channels use the tile of 48.
constexpr ConvolutionTile kTiles[] = {kTile<Tile<64, 64, 2, 2>>,  kTile<Tile<128, 32, 4, 1>>,
                                      kTile<Tile<128, 48, 4, 1>>, kTile<Tile<128, 64, 2, 2>>,
                                      kTile<Tile<128, 80, 4, 1>>, kTile<Tile<128, 96, 2, 2>>,
                                      kTile<Tile<128, 128, 2, 2>>};

}  // namespace

std::span<const ConvolutionTile> DirectWmmaTileTable() { return kTiles; }

}  // namespace repvgg::cuda
