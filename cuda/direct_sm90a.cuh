// The tiles of gemm_sm90a.cuh that are instantiated for convolutions.
#pragma once

#include "cuda/gemm_sm90a.cuh"

namespace repvgg::cuda {

// For fp16 and bf16. Widths divide the networks' channels per group (32, 40, 48, 64, 80, 96, 128, 160, 192
// and multiples) exactly.
template <Precision kPrecision>
constexpr GemmSm90aTile kConvolutionTiles[] = {
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kCooperative, 256, 64, 4>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kCooperative, 256, 96, 4>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kCooperative, 256, 128, 4>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kCooperative, 256, 160, 3>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kCooperative, 256, 192, 3>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kCooperative, 128, 128, 5>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kCooperative, 128, 160, 5>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kCooperative, 128, 192, 4>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kCooperative, 128, 256, 3>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kPingPong, 64, 64, 8>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kPingPong, 64, 160, 5>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kPingPong, 128, 32, 8>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kPingPong, 128, 40, 8>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kPingPong, 128, 48, 8>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kPingPong, 128, 64, 8>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kPingPong, 128, 80, 7>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kPingPong, 128, 96, 6>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kPingPong, 128, 128, 6>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kCooperative, 256, 96, 4, Operand::kIn>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kCooperative, 256, 128, 4, Operand::kIn>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kCooperative, 256, 160, 3, Operand::kIn>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kCooperative, 256, 96, 4, Operand::kWeight>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kCooperative, 256, 128, 4, Operand::kWeight>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kCooperative, 256, 160, 3, Operand::kWeight>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kCooperative, 128, 192, 4, Operand::kWeight>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kCooperative, 128, 256, 3, Operand::kWeight>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kPingPong, 128, 96, 6, Operand::kWeight>,
    kGemmSm90aTile<kPrecision, TmaMode::kIm2col, Schedule::kPingPong, 128, 128, 6, Operand::kWeight>};

}  // namespace repvgg::cuda
