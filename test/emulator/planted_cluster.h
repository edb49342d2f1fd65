// A small matrix product by two blocks of a cluster that load one operand once for both, and the mistakes one
// makes in such kernels, to be made on purpose: what planted_sm90a.h is for one block.
#pragma once

#include "cuda/runtime.h"

namespace repvgg::cuda {
struct Half;
}

namespace repvgg::emulator {

enum class PlantCluster {
  kNothing,
  kMissingPeerArrive,    // A stage is given back to this block alone, and filled by both.
  kEarlyPeerArrive,      // A stage is given back to the other block while its products run.
  kWrongRank,            // Both arrivals are at the first block.
  kMissingEmptyWait,     // The other block's stage is filled, and nobody asked whether it may be.
  kHalfBytes,            // What the other block loads is not waited for.
  kMissingSetupBarrier,  // The other block's barriers are used and may not be there yet.
  kMissingEndBarrier,    // A block ends, and the other one still arrives at its barriers.
};

inline constexpr int kPlantClusterRows = 64;  // Of each block.
inline constexpr int kPlantClusterColumns = 64;
inline constexpr int kPlantClusterInner = 320;

// c = a * b; a is [2 rows][inner], b is [columns][inner], c is [2 rows][columns].
cudaError_t LaunchPlantedCluster(PlantCluster plant, const cuda::Half* a, const cuda::Half* b, float* c);

}  // namespace repvgg::emulator
