// The tiles of gemm_sm90a.cuh that are instantiated for the batched products of winograd_chain.h.
#pragma once

#include "cuda/gemm_sm90a.cuh"

namespace repvgg::cuda {

template <Precision kPrecision, int kRowBlocks, int kColumns, int kStages, bool kPingPong,
          Operand kMulticast = Operand::kNone>
constexpr GemmSm90aTile kBatchedTile =
    kGemmSm90aTile<GemmTile<kPrecision, false, kRowBlocks, kColumns, kStages, kPingPong, kMulticast>>;

// Reductions are short (192 to 768) and channels many.
template <Precision kPrecision>
constexpr GemmSm90aTile kBatchedTiles[] = {
    kBatchedTile<kPrecision, 2, 128, 4, false>,                    // Cooperative: 256 x 128
    kBatchedTile<kPrecision, 1, 192, 4, false>,                    // 128 x 192
    kBatchedTile<kPrecision, 1, 256, 3, false>,                    //
    kBatchedTile<kPrecision, 2, 64, 8, true>,                      // Ping-pong: 128 x 64
    kBatchedTile<kPrecision, 2, 96, 6, true>,                      //
    kBatchedTile<kPrecision, 2, 128, 6, true>,                     //
    kBatchedTile<kPrecision, 1, 160, 5, true>,                     //
    kBatchedTile<kPrecision, 2, 128, 4, false, Operand::kIn>,      // Multicast.
    kBatchedTile<kPrecision, 1, 192, 4, false, Operand::kWeight>,  //
    kBatchedTile<kPrecision, 1, 256, 3, false, Operand::kWeight>};

}  // namespace repvgg::cuda
