// The tiles of gemm_sm90a.cuh that are instantiated for the batched products of winograd_chain.h.
#pragma once

#include "cuda/gemm_sm90a.cuh"

namespace repvgg::cuda {

// Reductions are short (192 to 768) and channels many.
template <Precision kPrecision>
constexpr GemmSm90aTile kBatchedTiles[] = {
    kGemmSm90aTile<kPrecision, TmaMode::kTiled, Schedule::kCooperative, 256, 128, 4>,
    kGemmSm90aTile<kPrecision, TmaMode::kTiled, Schedule::kCooperative, 128, 192, 4>,
    kGemmSm90aTile<kPrecision, TmaMode::kTiled, Schedule::kCooperative, 128, 256, 3>,
    kGemmSm90aTile<kPrecision, TmaMode::kTiled, Schedule::kPingPong, 128, 64, 8>,
    kGemmSm90aTile<kPrecision, TmaMode::kTiled, Schedule::kPingPong, 128, 96, 6>,
    kGemmSm90aTile<kPrecision, TmaMode::kTiled, Schedule::kPingPong, 128, 128, 6>,
    kGemmSm90aTile<kPrecision, TmaMode::kTiled, Schedule::kPingPong, 64, 160, 5>,
    kGemmSm90aTile<kPrecision, TmaMode::kTiled, Schedule::kCooperative, 256, 128, 4, Operand::kIn>,
    kGemmSm90aTile<kPrecision, TmaMode::kTiled, Schedule::kCooperative, 128, 192, 4, Operand::kWeight>,
    kGemmSm90aTile<kPrecision, TmaMode::kTiled, Schedule::kCooperative, 128, 256, 3, Operand::kWeight>};

}  // namespace repvgg::cuda
