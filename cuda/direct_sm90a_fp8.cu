#include "cuda/direct_sm90a.cuh"

namespace repvgg::cuda {
namespace {

// Tiles of half the accumulators: the other half of the registers holds the sums of a step.
constexpr auto kFp8 = Precision::kFp8;
constexpr GemmSm90aTile kFp8Tiles[] = {kConvolutionTile<kFp8, 2, 96, 4, false>,   // Cooperative: 256 x 96
                                       kConvolutionTile<kFp8, 1, 128, 5, false>,  // 128 x 128
                                       kConvolutionTile<kFp8, 1, 160, 5, false>,  //
                                       kConvolutionTile<kFp8, 1, 192, 4, false>,  //
                                       kConvolutionTile<kFp8, 1, 64, 8, true>,    // Ping-pong: 64 x 64
                                       kConvolutionTile<kFp8, 1, 128, 7, true>,   //
                                       kConvolutionTile<kFp8, 2, 32, 8, true>,    // 128 x 32
                                       kConvolutionTile<kFp8, 2, 48, 8, true>,    //
                                       kConvolutionTile<kFp8, 2, 64, 8, true>,    //
                                       kConvolutionTile<kFp8, 2, 80, 7, true>,    //
                                       kConvolutionTile<kFp8, 2, 96, 6, true>,    //
                                       kConvolutionTile<kFp8, 2, 96, 4, false, Operand::kIn>,  // Multicast.
                                       kConvolutionTile<kFp8, 2, 96, 4, false, Operand::kWeight>,   //
                                       kConvolutionTile<kFp8, 1, 128, 5, false, Operand::kWeight>,  //
                                       kConvolutionTile<kFp8, 1, 160, 5, false, Operand::kWeight>,  //
                                       kConvolutionTile<kFp8, 1, 192, 4, false, Operand::kWeight>};

}  // namespace

extern const std::span<const GemmSm90aTile> kConvolutionSm90aFp8;
const std::span<const GemmSm90aTile> kConvolutionSm90aFp8 = kFp8Tiles;

}  // namespace repvgg::cuda
