// Actions on one word of shared memory and what is between them: the smallest cases of what the emulator
// takes for a race.
#pragma once

namespace repvgg::emulator {

// What threads `first` to `last` do.
struct PlantedAction {
  enum Kind { kNothing, kRead, kWrite } kind = kNothing;
  int first = 0, last = 0;
};

enum class PlantedOrder {
  kNone,
  kWarps,     // A barrier of each warp.
  kBlock,     // A barrier of the block.
  kTwoWarps,  // A barrier of warps 0 and 1.
  // A barrier of warps 0 to 2; warps 3 and 4 wait meanwhile, for each other.
  kThreeWarps,
};
inline constexpr int kPlantedOrderWarps = 5;

// Nothing is between `after` and `last`.
void LaunchPlantedOrder(PlantedAction before, PlantedOrder order, PlantedAction after, PlantedAction last);

}  // namespace repvgg::emulator
