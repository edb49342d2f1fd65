// A small matrix product on tensor cores with a pipeline of cp.async, and the mistakes one makes in such
// kernels, to be made on purpose. Tests that the emulator sees each of them.
#pragma once

#include "cuda/ptx.cuh"

namespace repvgg::emulator {

enum class Plant {
  kNothing,
  kWrongIndex,           // Results of two rows change places.
  kMissingWait,          // The newest stage is not waited for.
  kMissingBarrier,       // A stage is used after the own copies have landed, not the other threads'.
  kMissingReuseBarrier,  // A stage is overwritten while others may still read it.
  kMissingWarpBarrier,   // Lanes read what other lanes of the warp have written.
  kSharedOverrun,
  kGlobalOverrun,
  kUninitialised,  // Shared memory that nothing was written to.
  kMisaligned,
  kLocalOverrun,
  kInputWritten,
  kOutputTwice,
  kDivergentWarp,
  kDivergentBarrier,
};

inline constexpr int kPlantRows = 32;     // Of A and of the result.
inline constexpr int kPlantColumns = 16;  // Of B and of the result.
inline constexpr int kPlantInner = 128;

// c = a * b; a is [rows][inner], b is [columns][inner], c is [rows][columns].
void LaunchPlanted(Plant plant, cuda::Half* a, const cuda::Half* b, float* c);

}  // namespace repvgg::emulator
