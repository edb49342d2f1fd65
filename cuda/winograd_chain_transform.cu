// The transforms of winograd_chain.h, computed in fp32 on fp16 or bf16 values.
//
// Tiling. A block processes 64 channels of one image: a warp takes one tile at a time, each lane two adjacent
// channels. The map between two layers is kept in shared memory, rounded as it would be in device memory, so
// that a chain is bit-identical to its layers run one by one.
//
// Shared memory. height x width x 128 bytes: 25 KB at 14 x 14.
//
// Registers per thread. F(4x4): 72 values and an output tile.
//
// Where time goes. Predicted, not measured: device memory bandwidth, or L2's where it holds the batch. For
// each value of its map a chained layer reads and writes 2.25 (F(4x4)) or 4 (F(2x2)) values, more where tiles
// overhang the border (2.9 for F(4x4) at 14 x 14); an unchained layer reads and writes its maps in addition.
#include "cuda/element.cuh"
#include "cuda/launch.cuh"
#include "cuda/winograd.cuh"
#include "cuda/winograd_chain.h"

namespace repvgg::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPairs = 32;  // Pairs of channels per block.

template <Precision kPrecision, int kTile, ChainStep kStep>
__global__ void __launch_bounds__(kThreads)
    ChainTransformKernel(const Convolution layer, const uint32_t* m, uint32_t* v) {
  using T = Element<kPrecision>;
  AllowNextKernel();
  WaitForPreviousKernel();
  constexpr int kSide = kTile + 2, kPositions = kPositionsOf<kTile>;
  const int channels = kStep == ChainStep::kBegin ? layer.in_channels : layer.out_channels;
  const int pairs = channels / 2, slices = DivideUp(pairs, kPairs);
  const int image = blockIdx.x / slices, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int pair = blockIdx.x % slices * kPairs + lane;
  const bool valid = pair < pairs;
  const int height = layer.height, width = layer.width;
  const int tiles_x = DivideUp(width, kTile), tiles = DivideUp(height, kTile) * tiles_x;
  const size_t plane = static_cast<size_t>(layer.batch) * tiles * pairs;  // Elements of one position.
  uint32_t* const map = reinterpret_cast<uint32_t*>(SharedMemory()) + lane;
  const size_t image_pixels = static_cast<size_t>(image) * height * width;

  if constexpr (kStep == ChainStep::kBegin) {
    const uint32_t* const in = static_cast<const uint32_t*>(layer.in) + image_pixels * pairs + pair;
    for (int pixel = warp; pixel < height * width; pixel += kThreads / 32) {
      map[pixel * kPairs] = valid ? in[static_cast<size_t>(pixel) * pairs] : 0;
    }
  } else if (valid) {
    const float2 bias = *reinterpret_cast<const float2*>(layer.bias + 2 * pair);
    for (int tile = warp; tile < tiles; tile += kThreads / 32) {
      const uint32_t* const from = m + static_cast<size_t>(image * tiles + tile) * pairs + pair;
      float one[kPositions], other[kPositions], out[kTile][kTile], other_out[kTile][kTile];
#pragma unroll
      for (int p = 0; p < kPositions; ++p) {
        const float2 two = Unpack<T>(from[p * plane]);
        one[p] = two.x, other[p] = two.y;
      }
      TransformOutput<kTile>(one, out);
      TransformOutput<kTile>(other, other_out);
      const int first_y = tile / tiles_x * kTile, first_x = tile % tiles_x * kTile;
#pragma unroll
      for (int i = 0; i < kTile * kTile; ++i) {
        const int y = first_y + i / kTile, x = first_x + i % kTile;
        if (y >= height || x >= width) continue;
        float a = out[i / kTile][i % kTile] + bias.x, b = other_out[i / kTile][i % kTile] + bias.y;
        if (layer.relu) a = Relu(a), b = Relu(b);
        const int pixel = y * width + x;
        if constexpr (kStep == ChainStep::kEnd) {
          static_cast<uint32_t*>(layer.out)[(image_pixels + pixel) * pairs + pair] = Pack<T>(a, b);
        } else {
          map[pixel * kPairs] = Pack<T>(a, b);
        }
      }
    }
  }
  if constexpr (kStep != ChainStep::kEnd) {
    __syncthreads();
    if (!valid) return;
    for (int tile = warp; tile < tiles; tile += kThreads / 32) {
      const int first_y = tile / tiles_x * kTile - 1, first_x = tile % tiles_x * kTile - 1;
      float one[kPositions], other[kPositions];
#pragma unroll
      for (int i = 0; i < kPositions; ++i) {
        const int y = first_y + i / kSide, x = first_x + i % kSide;
        const bool inside = y >= 0 && y < height && x >= 0 && x < width;
        const float2 two = Unpack<T>(inside ? map[(y * width + x) * kPairs] : 0);
        one[i] = two.x, other[i] = two.y;
      }
      TransformInput<kTile>(one);
      TransformInput<kTile>(other);
      uint32_t* const to = v + static_cast<size_t>(image * tiles + tile) * pairs + pair;
#pragma unroll
      for (int p = 0; p < kPositions; ++p)
        to[p * plane] = Pack<T>(one[p] * kChainInputScale, other[p] * kChainInputScale);
    }
  }
}

template <Precision kPrecision, int kTile>
cudaError_t LaunchStep(const Convolution& layer, ChainStep step, const void* m, void* v,
                       cudaStream_t stream) {
  const int channels = step == ChainStep::kBegin ? layer.in_channels : layer.out_channels;
  const dim3 blocks(layer.batch * DivideUp(channels / 2, kPairs));
  const size_t shared = step == ChainStep::kEnd ? 0 : size_t{4} * kPairs * layer.height * layer.width;
  const auto kernel = step == ChainStep::kBegin ? ChainTransformKernel<kPrecision, kTile, ChainStep::kBegin>
                      : step == ChainStep::kBetween
                          ? ChainTransformKernel<kPrecision, kTile, ChainStep::kBetween>
                          : ChainTransformKernel<kPrecision, kTile, ChainStep::kEnd>;
  return LaunchOverlapped(kernel, blocks, dim3(kThreads), shared, stream, layer,
                          static_cast<const uint32_t*>(m), static_cast<uint32_t*>(v));
}

}  // namespace

cudaError_t LaunchChainTransform(const Convolution& layer, Precision precision, int tile_side, ChainStep step,
                                 const void* m, void* v, cudaStream_t stream) {
  if (precision == Precision::kFp16) {
    return tile_side == 2 ? LaunchStep<Precision::kFp16, 2>(layer, step, m, v, stream)
                          : LaunchStep<Precision::kFp16, 4>(layer, step, m, v, stream);
  }
  return tile_side == 2 ? LaunchStep<Precision::kBf16, 2>(layer, step, m, v, stream)
                        : LaunchStep<Precision::kBf16, 4>(layer, step, m, v, stream);
}

}  // namespace repvgg::cuda
