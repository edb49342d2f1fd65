// A sum whose parts the blocks of a cluster have, and the mistakes one makes in such kernels, to be made on
// purpose: what planted_sm90a.h is for one block.
#pragma once

#include "cuda/runtime.h"

namespace repvgg::emulator {

enum class PlantReduction {
  kNothing,
  kMissingBarrier,     // Another block's part is read, and may not have been written.
  kMissingEndBarrier,  // A block ends, and others still read its part.
  kEarlyReuse,         // Blocks write over their parts, which the last may have read or not.
  kBeyondCluster,      // Of a block that the cluster does not have.
  kWrongRank,          // This block's part is read instead of each.
  kWrongOrder,         // Every block begins with its own.
};

inline constexpr int kPlantReductionBlocks = 8;
inline constexpr int kPlantReductionValues = 2048;

// out[i] is the sum of in[block][i], in order.
cudaError_t LaunchPlantedReduction(PlantReduction plant, const float* in, float* out);

}  // namespace repvgg::emulator
