// A small matrix product by TMA and wgmma, and the mistakes one makes in such kernels, to be made on purpose:
// what planted_faults.h is for older instructions.
#pragma once

#include "cuda/runtime.h"

namespace repvgg::cuda {
struct Half;
}

namespace repvgg::emulator {

enum class PlantSm90a {
  kNothing,
  kMissingFullWait,      // Operands are multiplied before they have arrived.
  kWrongPhase,           // The wait for operands looks at the other parity.
  kMissingEmptyWait,     // A stage is filled while it may still be read.
  kMissingProductWait,   // Sums are stored before the products are waited for.
  kEarlyRelease,         // A stage is given back while its products run.
  kMissingProductFence,  // Registers are cleared and used with no fence between.
  kWrongDescriptor,      // The second half of the reduction starts 16 bytes too early.
  kWrongBlocks,          // Rows are taken to lie 512 bytes a block of eight.
  kWrongBytes,           // More bytes are expected than come.
  kMissingProxyFence,    // TMA stores what ordinary stores have just written.
  kMissingStoreBarrier,  // The same before other threads have written it.
  kMissingStoreWait,     // What TMA stores from is overwritten.
  kStoreOverOperand,     // Sums go where an operand is that other warps may still multiply.
};

inline constexpr int kPlantSm90aRows = 64;
inline constexpr int kPlantSm90aColumns = 64;
inline constexpr int kPlantSm90aInner = 320;

// c = a * b; a is [rows][inner], b is [columns][inner], c is [2][rows][columns]: twice the same.
cudaError_t LaunchPlantedSm90a(PlantSm90a plant, const cuda::Half* a, const cuda::Half* b, cuda::Half* c);

}  // namespace repvgg::emulator
