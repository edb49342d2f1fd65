// Two kernels that follow each other, of which the second may start before the first has ended, and the
// mistakes one makes in it: what planted_faults.h is for a kernel by itself.
#pragma once

#include <cstdint>

namespace repvgg::emulator {

enum class PlantOverlap {
  kNothing,
  kMissingWait,     // Nobody waits for the first kernel.
  kMissingBarrier,  // One thread waits, and the others are not told.
  kEarlyWrite,      // Written before the wait: the first kernel may still read there.
  kEarlyLoad,       // A TMA load of what the first kernel writes, asked for before the wait.
};

inline constexpr int kPlantOverlapWords = 1024;

// The first kernel writes i to between[i], the second 2 i to out[i].
void LaunchPlantedOverlap(PlantOverlap plant, uint32_t* between, uint32_t* out);

}  // namespace repvgg::emulator
