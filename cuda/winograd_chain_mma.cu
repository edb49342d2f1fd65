// The batched products of winograd_chain.h by mma.sync, for Ampere and later: one GEMM per position of the
// Winograd domain and group, in fp16 or bf16 with fp32 accumulators.
//
// Tiling, shared memory, registers. As in mma_tile.cuh: a block computes Tile::kPixels Winograd tiles x
// Tile::kChannels output channels of one position, in steps of 32 input channels. Rows are contiguous in
// memory: no im2col addressing.
//
// Where time goes. Predicted, not measured: with 192 to 768 input channels, 6 to 24 steps, prologue and
// epilogue take a third to a tenth of the time of the products.
#include "cuda/launch.cuh"
#include "cuda/mma_tile.cuh"
#include "cuda/winograd_chain.h"

namespace repvgg::cuda {
namespace {

constexpr int kBlockDepth = 64;  // Input channels in a row of the packed weights.
constexpr int kStepDepth = 32;

template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads) ChainProductsKernel(const ChainProducts products) {
  using T = typename Tile::T;
  if (REPVGG_ARCH < 800) return Trap();
  AllowNextKernel();
  WaitForPreviousKernel();
  unsigned char* const shared = SharedMemory();
  const int group_in = products.group_in, group_out = products.group_out;
  const auto [first_tile, group, first_channel] = typename Tile::Place(group_out, products.groups);
  const int position = blockIdx.y;
  const int steps = DivideUp(group_in, kStepDepth);
  const int in_channels = group_in * products.groups, out_channels = group_out * products.groups;

  // Each thread fills one 16-byte column of several rows.
  constexpr int kRowStep = Tile::kThreads / kStepChunks;
  const int chunk = threadIdx.x % kStepChunks, first_row = threadIdx.x / kStepChunks;
  const T* const rows = static_cast<const T*>(products.v) +
                        (static_cast<size_t>(position) * products.tiles + first_tile) * in_channels +
                        group * group_in;
  const T* const weights =
      static_cast<const T*>(products.weight) +
      (static_cast<size_t>(position * products.groups + group) * DivideUp(group_in, kBlockDepth) * group_out +
       first_channel) *
          kBlockDepth;
  const auto load = [&](int step, int stage) {
    unsigned char* const to = shared + stage * Tile::kStageBytes;
    const int channel = step * kStepDepth + chunk * 8;
#pragma unroll
    for (int i = 0; i < DivideUp(Tile::kPixels, kRowStep); ++i) {
      const int row = first_row + i * kRowStep;
      const bool valid = first_tile + row < products.tiles && channel < group_in;
      CpAsync<kChunkBytes>(to + SwizzledOffset(row, chunk),
                           valid ? rows + static_cast<size_t>(row) * in_channels + channel : products.v,
                           valid);
    }
    const T* const from =
        weights + static_cast<size_t>(step / 2) * group_out * kBlockDepth + step % 2 * kStepDepth + chunk * 8;
#pragma unroll
    for (int i = 0; i < DivideUp(Tile::kChannels, kRowStep); ++i) {
      const int row = first_row + i * kRowStep;
      const bool valid = first_channel + row < group_out;
      CpAsync<kChunkBytes>(to + Tile::Pixels::kBytes + SwizzledOffset(row, chunk),
                           valid ? from + row * kBlockDepth : products.weight, valid);
    }
  };
  static_assert(Tile::kPixels % kRowStep == 0 && Tile::kChannels % kRowStep == 0);

  float sum[Tile::kTilesM][Tile::kTilesN][4] = {};
  MultiplyPipelined<Tile>(shared, steps, sum, load);

  T* const out = static_cast<T*>(products.m) +
                 (static_cast<size_t>(position) * products.tiles + first_tile) * out_channels +
                 group * group_out + first_channel;
  StoreTile<Tile>(shared, sum, nullptr, false, out, out_channels, products.tiles - first_tile,
                  group_out - first_channel);
}

template <typename Tile>
cudaError_t LaunchProducts(const ChainProducts& products, cudaStream_t stream) {
  const int blocks = Tile::Place::Count(products.tiles, products.group_out, products.groups);
  return LaunchOverlapped(ChainProductsKernel<Tile>, dim3(blocks, products.positions), dim3(Tile::kThreads),
                          Tile::kSharedBytes, stream, products);
}

template <typename Tile>
constexpr ChainTile kTile = {Tile::kPixels, Tile::kChannels, Tile::kSharedBytes, nullptr,
                             &LaunchProducts<Tile>};
template <Precision kPrecision>
constexpr ChainTile kTiles[] = {kTile<DirectMma<kPrecision, 64, 64, 2, 2, 4, true>>,   //
                                kTile<DirectMma<kPrecision, 128, 64, 2, 2, 4, true>>,  //
                                kTile<DirectMma<kPrecision, 128, 96, 2, 2, 4, true>>,  //
                                kTile<DirectMma<kPrecision, 128, 128, 2, 2, 4, true>>};

}  // namespace

extern const std::span<const ChainTile> kChainMmaFp16, kChainMmaBf16;
const std::span<const ChainTile> kChainMmaFp16 = kTiles<Precision::kFp16>;
const std::span<const ChainTile> kChainMmaBf16 = kTiles<Precision::kBf16>;

}  // namespace repvgg::cuda
