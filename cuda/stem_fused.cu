// The first two layers fused (mma.sync), for maps of fp16 and bf16: uint8 pixels in, normalisation, twice
// conv3x3 of stride 2, bias and ReLU, a map out. The map between them, a third of the memory traffic of A0
// and A1, stays in shared memory. Results are bit-identical to stem_mma.cu followed by direct_mma.cuh: the
// first layer uses the same functions, and the second accumulates in the same order.
//
// Tiling. Persistent blocks of 4 warps compute tiles of 8 x 8 output pixels of one image x all N output
// channels. A tile reads 17 x 17 pixels of the map between, 13 % of which a neighbouring tile computes as
// well, and for those 35 x 35 pixels of the image. First each warp computes 16 of the 289 pixels at a time,
// in up to five rounds; then the warps, 2 along the pixels x 2 along the channels, compute the second layer,
// with ldmatrix reading the pixels of each tap from the patch.
//
// Shared memory, with C channels between the layers: the patch of the map between, 33 KB (C = 48) or 41 KB (C
// = 64), which the epilogue reuses; 35 x 35 pixels in fp16, 7 KB; the first layer's weights as fragments, 6
// or 8 KB, and its scales and biases, 2 or 3 KB; 3 stages (2 from N = 96 on) of the second layer's weights,
// 64 N bytes each, which cp.async streams from L2 for every tile; the first stages of a tile arrive during
// its first layer. In total 57 KB for 48 to 48, 71 KB for 64 to 64, 83 KB for 64 to 192. Occupancy in blocks
// per multiprocessor: sm_80 2 (1 for N = 192), sm_86 and sm_89 1, sm_90 3 (2 from N = 128 on). The patch
// keeps even columns apart from odd ones, and pixels an odd multiple of 16 bytes apart, so that the stride of
// 2 causes no bank conflicts.
//
// Registers per thread. First layer: C of weights and C / 2 accumulators; second layer: N / 2 accumulators.
// At most 168, for three blocks per multiprocessor.
//
// Where time goes. Predicted, not measured: tensor cores. Per 16 output pixels and 8 channels the second
// layer takes 9 C / 16 mmas, and the first, with two mmas per weight and 4.75 pixels per output pixel, 19 C /
// N: 36 and 19 for 64 to 64. docs/kernels.md has the times that this predicts. With two or three blocks per
// multiprocessor, one loads its image while the others compute.
//
// Limits. sm_80. C = 48 and N up to 48, or C = 64 and N up to 192, in multiples of 8. Not for the train form
// or squeeze-and-excite, which need the map between; fp32, tf32 and fp8 have separate kernels only.
#include "cuda/launch.cuh"
#include "cuda/mma_tile.cuh"
#include "cuda/stem_fused.h"
#include "cuda/stem_mma.cuh"

namespace repvgg::cuda {
namespace {

constexpr int kTileSide = 8;
constexpr int kMiddleSide = 2 * kTileSide + 1;  // Patch of the map between the layers.
constexpr int kImageSide = 2 * kMiddleSide + 1;
constexpr int kImagePitch = DivideUp(kImageSide * 3, 2);  // In words of two values.
constexpr int kMostBlocks = 3;                            // Per multiprocessor.

template <Precision kPrecisionOfMaps, int kMiddleChannels, int kChannelsOfTile>
struct FusedTile : WarpTiling<kPrecisionOfMaps, kTileSide * kTileSide, kChannelsOfTile, 2, 2, true> {
  using Tiling = typename FusedTile::WarpTiling;
  static constexpr int kStages = kChannelsOfTile <= 64 ? 3 : 2;  // Two, for more blocks per multiprocessor.

  // The reduction in direct_mma.cuh's order: blocks of 32 channels, or what is left of them, nine taps each.
  static constexpr int kChunks = kMiddleChannels / Tiling::kPerChunk;
  static constexpr int kHalves = 9 * kChunks / 2;  // Half steps: 16 channels of a tap.
  static constexpr int kSteps = DivideUp(kHalves, 2);
  static_assert(kMiddleChannels % 16 == 0);

  // A row of the patch is its even columns, then its odd ones, which start 64 bytes further in the banks, so
  // that an even pixel and the next are stored without conflicts. (In every other row the pairs begin at odd
  // ones.)
  static constexpr int kPixelBytes = (kChunks | 1) * kChunkBytes;
  static constexpr int kOddColumns = ((kTileSide + 1) * kPixelBytes + 63) / 128 * 128 + 64;
  static constexpr int kRowOfPatch = kOddColumns + kTileSide * kPixelBytes;
  static constexpr int kPatchBytes = kMiddleSide * kRowOfPatch;
  static_assert(kOddColumns >= (kTileSide + 1) * kPixelBytes);
  static_assert(kPatchBytes >= Tiling::kOutBytes);
  REPVGG_DEVICE static constexpr int PatchOffset(int y, int x) {
    return y * kRowOfPatch + x % 2 * kOddColumns + x / 2 * kPixelBytes;
  }

  using Channels = StemChannels<kChunks>;
  using Fragments = StemFragments<kChunks>;
  using Image = StemPatch<kImageSide, kImageSide, kImagePitch>;
  static constexpr int kFragmentWords = sizeof(Fragments) / sizeof(uint32_t);  // Per lane.
  static_assert(kFragmentWords % 4 == 0);
  static constexpr int kRing = kPatchBytes;
  static constexpr int kWeights = kRing + kStages * Tiling::kWeightBytes;
  static constexpr int kStemChannels = kWeights + kFragmentWords * 32 * 4;
  static constexpr int kImage = kStemChannels + Channels::kWords * 4;
  static constexpr int kSharedBytes = kImage + Image::kWords * 4;
};

// The first layer's weights are kept in shared memory in fragment order, four words of each lane at a time.
template <typename Fragments>
REPVGG_DEVICE void StoreFragments(const Fragments& from, uint4* to) {
  constexpr int kFours = sizeof(Fragments) / sizeof(uint4);
  const auto* const words = reinterpret_cast<const uint32_t*>(&from);
#pragma unroll
  for (int i = 0; i < kFours; ++i) {
    to[i * 32 + threadIdx.x % 32] =
        make_uint4(words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]);
  }
}
template <typename Fragments>
REPVGG_DEVICE void LoadFragments(Fragments& to, const uint4* from) {
  constexpr int kFours = sizeof(Fragments) / sizeof(uint4);
  auto* const words = reinterpret_cast<uint32_t*>(&to);
#pragma unroll
  for (int i = 0; i < kFours; ++i) {
    const uint4 four = from[i * 32 + threadIdx.x % 32];
    words[4 * i] = four.x, words[4 * i + 1] = four.y, words[4 * i + 2] = four.z, words[4 * i + 3] = four.w;
  }
}

// Computes a tile's patch of the map between the layers, from (first_y, first_x) on; 0 outside the map.
template <typename Tile>
REPVGG_DEVICE void FillPatch(const Stem& stem, const typename Tile::Channels& channels,
                             const typename Tile::Image& image, const uint4* packed, int first_y, int first_x,
                             unsigned char* patch) {
  using T = typename Tile::T;
  constexpr int kPixels = kMiddleSide * kMiddleSide;
  typename Tile::Fragments weights;
  LoadFragments(weights, packed);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int first = warp * 16; first < kPixels; first += Tile::kThreads / 32 * 16) {
    int row[2], column[2];
    const uint32_t* window[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int pixel = first + half * 8 + lane / 4;
      row[half] = pixel / kMiddleSide;
      column[half] = pixel % kMiddleSide;
      window[half] = pixel < kPixels ? image.Window(row[half], column[half]) : image.words;
    }
    float sum[Tile::kChunks][4] = {};
    image.Multiply(window[0], window[1], weights, sum);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (row[half] >= kMiddleSide) continue;
      const int y = first_y + row[half], x = first_x + column[half];
      uint32_t words[Tile::kChunks] = {};
      if (y >= 0 && y < stem.out_height() && x >= 0 && x < stem.out_width()) {
        FinishStem<T>(stem, channels, sum, half, y, x, words);
      }
      T* const to = reinterpret_cast<T*>(patch + Tile::PatchOffset(row[half], column[half]));
      StoreStem(words, to, 8 * Tile::kChunks);
    }
  }
}

// The second layer's weights, which stream through a ring of stages, a step each. All tiles use the same, so
// that the ring runs on across tiles.
template <typename Tile>
class WeightRing {
 public:
  // For `tiles` passes over the weights.
  REPVGG_DEVICE WeightRing(const Convolution& next, unsigned char* stages, int tiles)
      : stages_(stages),
        weight_(static_cast<const unsigned char*>(next.weight) + threadIdx.x * kChunkBytes),
        step_bytes_(static_cast<size_t>(next.out_channels) * kRowBytes),
        chunks_(next.out_channels * kStepChunks - static_cast<int>(threadIdx.x)),
        destination_(KeepInRegister(SwizzledOffset(threadIdx.x / kStepChunks, threadIdx.x % kStepChunks))),
        left_(tiles * Tile::kSteps) {}

  // Starts to copy the next step's weights, if there are any, to the stage that was read last.
  REPVGG_DEVICE void Load() {
    if (left_-- > 0) {
      const unsigned char* const from = weight_ + step_ * step_bytes_;
      unsigned char* const to = stages_ + write_ * Tile::kWeightBytes + destination_;
#pragma unroll
      for (int i = 0; i < DivideUp(kChunksOfStage, Tile::kThreads); ++i) {
        const int first = i * Tile::kThreads;
        if (kChunksOfStage % Tile::kThreads == 0 || threadIdx.x + first < kChunksOfStage) {
          const bool valid = first < chunks_;
          CpAsync<kChunkBytes>(to + first * kChunkBytes, valid ? from + first * kChunkBytes : weight_, valid);
        }
      }
      step_ = step_ + 1 == Tile::kSteps ? 0 : step_ + 1;
      write_ = Next(write_);
    }
    CpAsyncCommit();
  }

  // The stage of the next step, whose copies must have landed.
  REPVGG_DEVICE const unsigned char* Read() {
    const unsigned char* const stage = stages_ + read_ * Tile::kWeightBytes;
    read_ = Next(read_);
    return stage;
  }

 private:
  static constexpr int kChunksOfStage = Tile::kChannels * kStepChunks;
  REPVGG_DEVICE static int Next(int stage) { return stage + 1 == Tile::kStages ? 0 : stage + 1; }

  unsigned char* stages_;
  const unsigned char* weight_;
  size_t step_bytes_;
  int chunks_;  // From this thread's first on: beyond them, zeros.
  int destination_;
  int left_;  // Steps.
  int step_ = 0, write_ = 0, read_ = 0;
};

// The second layer's products. `window`: where this lane's rows of the first tap are.
template <typename Tile>
REPVGG_DEVICE void MultiplyPatch(const unsigned char* window, const WeightRows<Tile>& rows,
                                 WeightRing<Tile>& ring, float (&sum)[Tile::kTilesM][Tile::kTilesN][4]) {
  int tap = 0, chunk = 0;
  for (int step = 0; step < Tile::kSteps; ++step) {
    CpAsyncWait<Tile::kStages - 2>();
    // All threads' copies of this step have landed, all threads have read the stage that is filled next, and,
    // in the first step, the patch is complete.
    __syncthreads();
    ring.Load();
    const unsigned char* const stage = ring.Read();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (Tile::kHalves % 2 == 1 && half == 1 && step + 1 == Tile::kSteps) break;
      const int line = tap * 11 >> 5;  // tap / 3
      const unsigned char* const pixels =
          window + Tile::PatchOffset(line, tap - 3 * line) + chunk * kChunkBytes;
      MultiplyHalf<Tile, Tile::PatchOffset(16 / kTileSide * 2, 0)>(pixels, stage, rows, half, sum);
      // Next: the other half of a block of four chunks, the next tap of the block, or the next block.
      chunk += 2;
      if (chunk % kStepChunks == 0 || chunk == Tile::kChunks) {
        const int block = (chunk - 1) / kStepChunks * kStepChunks;
        if (++tap == 9) {
          tap = 0;
        } else {
          chunk = block;
        }
      }
    }
  }
}

template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, kMostBlocks)
    StemFusedKernel(const Stem stem, const Convolution next) {
  using T = typename Tile::T;
  if (REPVGG_ARCH < 800) return Trap();
  unsigned char* const shared = SharedMemory();
  unsigned char* const patch = shared;
  uint4* const packed = reinterpret_cast<uint4*>(shared + Tile::kWeights);
  const typename Tile::Channels channels(reinterpret_cast<float*>(shared + Tile::kStemChannels));
  const typename Tile::Image image(reinterpret_cast<uint32_t*>(shared + Tile::kImage));

  const int out_height = next.out_height(), out_width = next.out_width();
  const int tiles_x = DivideUp(out_width, kTileSide), tiles_y = DivideUp(out_height, kTileSide);
  const int tiles = tiles_x * tiles_y * next.batch;

  WeightRing<Tile> ring(next, shared + Tile::kRing,
                        DivideUp(tiles - static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x)));
#pragma unroll
  for (int stage = 0; stage < Tile::kStages - 1; ++stage) ring.Load();

  channels.Prepare(stem, 0);
  __syncthreads();
  if (threadIdx.x < 32) {
    typename Tile::Fragments weights;
    weights.Load(stem, 0, channels.scale);
    StoreFragments(weights, packed);
  }

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const WeightRows<Tile> rows(0);
  const int row = warp % Tile::kWarpsM * Tile::kWarpPixels + lane % 16;  // Pixel of the tile.
  const int window =
      KeepInRegister(Tile::PatchOffset(row / kTileSide * 2, row % kTileSide * 2) + lane / 16 * kChunkBytes);
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int index = tile / (tiles_x * tiles_y);
    const int first_y = tile / tiles_x % tiles_y * kTileSide, first_x = tile % tiles_x * kTileSide;
    const int middle_y = 2 * first_y - 1, middle_x = 2 * first_x - 1;
    image.Load(stem, index, 2 * middle_y - 1, 2 * middle_x - 1);
    __syncthreads();  // Also: all threads have read the previous tile's patch.
    FillPatch<Tile>(stem, channels, image, packed, middle_y, middle_x, patch);

    float sum[Tile::kTilesM][Tile::kTilesN][4] = {};
    MultiplyPatch<Tile>(patch + window, rows, ring, sum);

    T* const out =
        static_cast<T*>(next.out) + static_cast<size_t>(index) * out_height * out_width * next.out_channels;
    StoreRows<Tile>(patch, sum, next.bias, next.relu, next.out_channels, [&](int pixel) -> T* {
      const int y = first_y + pixel / kTileSide, x = first_x + pixel % kTileSide;
      return y < out_height && x < out_width
                 ? out + static_cast<size_t>(y * out_width + x) * next.out_channels
                 : nullptr;
    });
  }
}

template <typename Tile>
cudaError_t LaunchTile(const Stem& stem, const Convolution& next, cudaStream_t stream) {
  int multiprocessors = 0, shared_bytes = 0;
  auto error = DeviceAttribute(cudaDevAttrMultiProcessorCount, &multiprocessors);
  if (error != cudaSuccess) return error;
  error = DeviceAttribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor, &shared_bytes);
  if (error != cudaSuccess) return error;
  constexpr int kReserved = 1024;  // Bytes of shared memory that the system reserves per block.
  const int fitting = shared_bytes / (Tile::kSharedBytes + kReserved);
  const int of_each = fitting < 1 ? 1 : fitting < kMostBlocks ? fitting : kMostBlocks;
  const int tiles =
      DivideUp(next.out_height(), kTileSide) * DivideUp(next.out_width(), kTileSide) * next.batch;
  const int blocks = multiprocessors * of_each;
  return Launch(StemFusedKernel<Tile>, dim3(blocks < tiles ? blocks : tiles), dim3(Tile::kThreads),
                Tile::kSharedBytes, stream, stem, next);
}

// Channels between the layers and of a tile, as the networks have them.
struct Width {
  int middle, out;
};
constexpr Width kWidths[] = {{48, 48}, {64, 64}, {64, 96}, {64, 128}, {64, 160}, {64, 192}};
constexpr int kWidthCount = sizeof kWidths / sizeof kWidths[0];

// The narrowest width that holds the layers' channels; kWidthCount if there is none.
int WidthFor(int middle, int out) {
  int width = 0;
  while (width < kWidthCount && (kWidths[width].middle != middle || kWidths[width].out < out)) ++width;
  return width;
}

template <Precision kPrecision, int kWidth = 0>
cudaError_t LaunchWidth(const Stem& stem, const Convolution& next, int width, cudaStream_t stream) {
  if constexpr (kWidth == kWidthCount) {
    return cudaErrorInvalidValue;
  } else {
    if (width != kWidth) return LaunchWidth<kPrecision, kWidth + 1>(stem, next, width, stream);
    return LaunchTile<FusedTile<kPrecision, kWidths[kWidth].middle, kWidths[kWidth].out>>(stem, next, stream);
  }
}

}  // namespace

bool StemFusedFits(const Stem& stem, const Convolution& next, Precision precision) {
  const bool halves = precision == Precision::kFp16 || precision == Precision::kBf16;
  const bool follows = next.in_channels == stem.out_channels && next.height == stem.out_height() &&
                       next.width == stem.out_width() && next.stride == 2 && next.groups == 1;
  return halves && follows && next.out_channels % 8 == 0 &&
         WidthFor(stem.out_channels, next.out_channels) < kWidthCount &&
         MachineCode(StemFusedKernel<FusedTile<Precision::kFp16, 48, 48>>) >= 80;
}

int StemFusedChannels(const Stem& stem, const Convolution& next) {
  return kWidths[WidthFor(stem.out_channels, next.out_channels)].out;
}

cudaError_t LaunchStemFused(const Stem& stem, const Convolution& next, Precision precision,
                            cudaStream_t stream) {
  if (!StemFusedFits(stem, next, precision) || !next.fits()) return cudaErrorInvalidValue;
  const int width = WidthFor(stem.out_channels, next.out_channels);
  return precision == Precision::kFp16 ? LaunchWidth<Precision::kFp16>(stem, next, width, stream)
                                       : LaunchWidth<Precision::kBf16>(stem, next, width, stream);
}

}  // namespace repvgg::cuda
