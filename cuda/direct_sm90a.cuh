// The tiles of gemm_sm90a.cuh that are built for convolutions.
#pragma once

#include "cuda/gemm_sm90a.cuh"

namespace repvgg::cuda {

// Widths are the exact divisors of the networks' channels, per group 32, 40, 48, 64, 80, 96, 128, 160, 192
// and multiples of these.
template <Precision kPrecision>
struct ConvolutionTilesOf {
  using Table = GemmSm90aTable<GemmTile<kPrecision, true, 2, 64, 4, false>,   // Cooperative: 256 x 64
                               GemmTile<kPrecision, true, 2, 96, 4, false>,   //
                               GemmTile<kPrecision, true, 2, 128, 4, false>,  //
                               GemmTile<kPrecision, true, 2, 160, 3, false>,  //
                               GemmTile<kPrecision, true, 2, 192, 3, false>,  //
                               GemmTile<kPrecision, true, 1, 128, 5, false>,  // 128 x 128
                               GemmTile<kPrecision, true, 1, 160, 5, false>,  //
                               GemmTile<kPrecision, true, 1, 192, 4, false>,  //
                               GemmTile<kPrecision, true, 1, 256, 3, false>,  //
                               GemmTile<kPrecision, true, 1, 64, 8, true>,    // Ping-pong: 64 x 64
                               GemmTile<kPrecision, true, 1, 160, 5, true>,   //
                               GemmTile<kPrecision, true, 2, 32, 8, true>,    // 128 x 32
                               GemmTile<kPrecision, true, 2, 40, 8, true>,    //
                               GemmTile<kPrecision, true, 2, 48, 8, true>,    //
                               GemmTile<kPrecision, true, 2, 64, 8, true>,    //
                               GemmTile<kPrecision, true, 2, 80, 7, true>,    //
                               GemmTile<kPrecision, true, 2, 96, 6, true>,    //
                               GemmTile<kPrecision, true, 2, 128, 6, true>,
                               GemmTile<kPrecision, true, 2, 96, 4, false, Operand::kIn>,   // Multicast.
                               GemmTile<kPrecision, true, 2, 128, 4, false, Operand::kIn>,  //
                               GemmTile<kPrecision, true, 2, 160, 3, false, Operand::kIn>,  //
                               GemmTile<kPrecision, true, 2, 96, 4, false, Operand::kWeight>,
                               GemmTile<kPrecision, true, 2, 128, 4, false, Operand::kWeight>,
                               GemmTile<kPrecision, true, 2, 160, 3, false, Operand::kWeight>,
                               GemmTile<kPrecision, true, 1, 192, 4, false, Operand::kWeight>,
                               GemmTile<kPrecision, true, 1, 256, 3, false, Operand::kWeight>,
                               GemmTile<kPrecision, true, 2, 96, 6, true, Operand::kWeight>,
                               GemmTile<kPrecision, true, 2, 128, 6, true, Operand::kWeight>>;
};
// Half the sums of a tile, for those of a step.
template <>
struct ConvolutionTilesOf<Precision::kFp8> {
  using Table = GemmSm90aTable<GemmTile<Precision::kFp8, true, 2, 96, 4, false>,   // Cooperative: 256 x 96
                               GemmTile<Precision::kFp8, true, 1, 128, 5, false>,  // 128 x 128
                               GemmTile<Precision::kFp8, true, 1, 160, 5, false>,  //
                               GemmTile<Precision::kFp8, true, 1, 192, 4, false>,  //
                               GemmTile<Precision::kFp8, true, 1, 64, 8, true>,    // Ping-pong: 64 x 64
                               GemmTile<Precision::kFp8, true, 1, 128, 7, true>,   //
                               GemmTile<Precision::kFp8, true, 2, 32, 8, true>,    // 128 x 32
                               GemmTile<Precision::kFp8, true, 2, 48, 8, true>,    //
                               GemmTile<Precision::kFp8, true, 2, 64, 8, true>,    //
                               GemmTile<Precision::kFp8, true, 2, 80, 7, true>,    //
                               GemmTile<Precision::kFp8, true, 2, 96, 6, true>,
                               GemmTile<Precision::kFp8, true, 2, 96, 4, false, Operand::kIn>,  // Multicast.
                               GemmTile<Precision::kFp8, true, 2, 96, 4, false, Operand::kWeight>,
                               GemmTile<Precision::kFp8, true, 1, 128, 5, false, Operand::kWeight>,
                               GemmTile<Precision::kFp8, true, 1, 160, 5, false, Operand::kWeight>,
                               GemmTile<Precision::kFp8, true, 1, 192, 4, false, Operand::kWeight>>;
};
template <Precision kPrecision>
using ConvolutionTiles = typename ConvolutionTilesOf<kPrecision>::Table;

}  // namespace repvgg::cuda
