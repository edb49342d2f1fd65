// The tiles of gemm_sm90a.cuh that are instantiated for convolutions.
#pragma once

#include "cuda/gemm_sm90a.cuh"

namespace repvgg::cuda {

template <Precision kPrecision, int kRowBlocks, int kColumns, int kStages, bool kPingPong,
          Operand kMulticast = Operand::kNone>
constexpr GemmSm90aTile kConvolutionTile =
    kGemmSm90aTile<GemmTile<kPrecision, true, kRowBlocks, kColumns, kStages, kPingPong, kMulticast>>;

// For fp16 and bf16. Widths divide the networks' channels per group (32, 40, 48, 64, 80, 96, 128, 160, 192
// and multiples) exactly.
template <Precision kPrecision>
constexpr GemmSm90aTile kConvolutionTiles[] = {
    kConvolutionTile<kPrecision, 2, 64, 4, false>,                     // Cooperative: 256 x 64
    kConvolutionTile<kPrecision, 2, 96, 4, false>,                     //
    kConvolutionTile<kPrecision, 2, 128, 4, false>,                    //
    kConvolutionTile<kPrecision, 2, 160, 3, false>,                    //
    kConvolutionTile<kPrecision, 2, 192, 3, false>,                    //
    kConvolutionTile<kPrecision, 1, 128, 5, false>,                    // 128 x 128
    kConvolutionTile<kPrecision, 1, 160, 5, false>,                    //
    kConvolutionTile<kPrecision, 1, 192, 4, false>,                    //
    kConvolutionTile<kPrecision, 1, 256, 3, false>,                    //
    kConvolutionTile<kPrecision, 1, 64, 8, true>,                      // Ping-pong: 64 x 64
    kConvolutionTile<kPrecision, 1, 160, 5, true>,                     //
    kConvolutionTile<kPrecision, 2, 32, 8, true>,                      // 128 x 32
    kConvolutionTile<kPrecision, 2, 40, 8, true>,                      //
    kConvolutionTile<kPrecision, 2, 48, 8, true>,                      //
    kConvolutionTile<kPrecision, 2, 64, 8, true>,                      //
    kConvolutionTile<kPrecision, 2, 80, 7, true>,                      //
    kConvolutionTile<kPrecision, 2, 96, 6, true>,                      //
    kConvolutionTile<kPrecision, 2, 128, 6, true>,                     //
    kConvolutionTile<kPrecision, 2, 96, 4, false, Operand::kIn>,       // Multicast.
    kConvolutionTile<kPrecision, 2, 128, 4, false, Operand::kIn>,      //
    kConvolutionTile<kPrecision, 2, 160, 3, false, Operand::kIn>,      //
    kConvolutionTile<kPrecision, 2, 96, 4, false, Operand::kWeight>,   //
    kConvolutionTile<kPrecision, 2, 128, 4, false, Operand::kWeight>,  //
    kConvolutionTile<kPrecision, 2, 160, 3, false, Operand::kWeight>,  //
    kConvolutionTile<kPrecision, 1, 192, 4, false, Operand::kWeight>,  //
    kConvolutionTile<kPrecision, 1, 256, 3, false, Operand::kWeight>,  //
    kConvolutionTile<kPrecision, 2, 96, 6, true, Operand::kWeight>,    //
    kConvolutionTile<kPrecision, 2, 128, 6, true, Operand::kWeight>};

}  // namespace repvgg::cuda
