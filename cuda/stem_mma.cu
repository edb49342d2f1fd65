// The first layer on tensor cores (mma.sync), for maps of fp16, bf16 and fp8; the computation is in
// stem_mma.cuh.
//
// Tiling. Persistent blocks of 128 threads compute tiles of 16 x 16 output pixels of one image x 8 kTiles
// channels; a warp computes 16 pixels of a row at a time.
//
// Shared memory. A patch of 33 x 33 pixels in fp16, and scales and biases, those of each tap included: 9 KB.
//
// Registers per thread. The weights, 8 kTiles, and 4 kTiles accumulators.
//
// Where time goes. Predicted, not measured: writing the map. On an H200 at batch 128 and 64 channels that
// takes 48 us at 4.3 TB/s, where the multiply-adds of stem.cu alone take 94 us at their peak rate.
//
// Limits. sm_75, for fp8 sm_90. Channels in multiples of 8.
#include "cuda/launch.cuh"
#include "cuda/stem_mma.cuh"

namespace repvgg::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kBlocksOfMultiprocessor = 3;
constexpr int kTileSide = 16;
constexpr int kPatchSide = 2 * kTileSide + 1;
constexpr int kPatchPitch = 50;  // Words; a row of 33 pixels fills 49.5.
using Patch = StemPatch<kPatchSide, kPatchSide, kPatchPitch>;

template <Precision kPrecision, int kTiles>
__global__ void __launch_bounds__(kThreads, kBlocksOfMultiprocessor) StemMmaKernel(const Stem stem) {
  if (REPVGG_ARCH < 750) return Trap();
  using T = Element<kPrecision>;
  float* const shared = reinterpret_cast<float*>(SharedMemory());
  const StemChannels<kTiles> channels(shared);
  const Patch patch(reinterpret_cast<uint32_t*>(shared + StemChannels<kTiles>::kWords));
  const int first_channel = blockIdx.y * 8 * kTiles;
  channels.Prepare(stem, first_channel);
  __syncthreads();
  StemFragments<kTiles> weights;
  weights.Load(stem, first_channel, channels.scale);

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4;
  const int out_height = stem.out_height(), out_width = stem.out_width();
  const int tiles_x = DivideUp(out_width, kTileSide), tiles_y = DivideUp(out_height, kTileSide);
  for (int tile = blockIdx.x; tile < tiles_x * tiles_y * stem.batch; tile += gridDim.x) {
    const int image = tile / (tiles_x * tiles_y);
    const int first_y = tile / tiles_x % tiles_y * kTileSide, first_x = tile % tiles_x * kTileSide;
    patch.Load(stem, image, 2 * first_y - 1, 2 * first_x - 1);
    __syncthreads();

    for (int row = warp; row < kTileSide; row += kThreads / 32) {
      float sum[kTiles][4] = {};
      patch.Multiply(patch.Window(row, g), patch.Window(row, g + 8), weights, sum);
      const int y = first_y + row;
      if (y >= out_height) continue;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int x = first_x + half * 8 + g;
        if (x >= out_width) continue;
        uint32_t words[kTiles];
        FinishStem<T>(stem, channels, sum, half, y, x, words);
        T* const to = static_cast<T*>(stem.out) +
                      ((static_cast<size_t>(image) * out_height + y) * out_width + x) * stem.out_channels +
                      first_channel;
        StoreStem(words, to, stem.out_channels - first_channel);
      }
    }
    __syncthreads();
  }
}

template <Precision kPrecision, int kTiles>
cudaError_t LaunchWidth(const Stem& stem, cudaStream_t stream) {
  int multiprocessors = 0;
  const auto error = DeviceAttribute(cudaDevAttrMultiProcessorCount, &multiprocessors);
  if (error != cudaSuccess) return error;
  const int tiles =
      DivideUp(stem.out_width(), kTileSide) * DivideUp(stem.out_height(), kTileSide) * stem.batch;
  const int across = DivideUp(stem.out_channels, 8 * kTiles);
  const int blocks = DivideUp(multiprocessors * kBlocksOfMultiprocessor, across);
  return Launch(StemMmaKernel<kPrecision, kTiles>, dim3(blocks < tiles ? blocks : tiles, across),
                dim3(kThreads), (StemChannels<kTiles>::kWords + Patch::kWords) * 4, stream, stem);
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
  if (out_precision == Precision::kFp8) return true;  // cuda_backend.cc refuses fp8 on other GPUs.
  const bool halves = out_precision == Precision::kFp16 || out_precision == Precision::kBf16;
  return halves && MachineCode(StemMmaKernel<Precision::kFp16, 8>) >= 75;
}

cudaError_t LaunchStemMma(const Stem& stem, Precision out_precision, cudaStream_t stream) {
  return out_precision == Precision::kFp8    ? LaunchPrecision<Precision::kFp8>(stem, stream)
         : out_precision == Precision::kFp16 ? LaunchPrecision<Precision::kFp16>(stem, stream)
                                             : LaunchPrecision<Precision::kBf16>(stem, stream);
}

}  // namespace repvgg::cuda
