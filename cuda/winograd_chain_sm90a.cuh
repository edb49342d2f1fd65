// The tiles of gemm_sm90a.cuh that are built for the products of winograd_chain.h.
#pragma once

#include "cuda/gemm_sm90a.cuh"

namespace repvgg::cuda {

// The reductions are short (192 to 768), the channels many.
template <Precision kPrecision>
using BatchedTiles =
    GemmSm90aTable<GemmTile<kPrecision, false, 2, 128, 4, false>,  // Cooperative: 256 x 128
                   GemmTile<kPrecision, false, 1, 192, 4, false>,  // 128 x 192
                   GemmTile<kPrecision, false, 1, 256, 3, false>,  //
                   GemmTile<kPrecision, false, 2, 64, 8, true>,    // Ping-pong: 128 x 64
                   GemmTile<kPrecision, false, 2, 96, 6, true>,    //
                   GemmTile<kPrecision, false, 2, 128, 6, true>,   //
                   GemmTile<kPrecision, false, 1, 160, 5, true>,
                   GemmTile<kPrecision, false, 2, 128, 4, false, Operand::kIn>,  // Multicast.
                   GemmTile<kPrecision, false, 1, 192, 4, false, Operand::kWeight>,
                   GemmTile<kPrecision, false, 1, 256, 3, false, Operand::kWeight>>;

}  // namespace repvgg::cuda
