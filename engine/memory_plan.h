// Activation memory of a network. A plain chain of blocks needs only two buffers, whatever its depth: each
// block reads one and writes the other. (Section 3.2 of the paper counts this among RepVGG's advantages over
// multi-branch networks.)
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "engine/network.h"

namespace repvgg {

struct MapSize {
  int height = 0;
  int width = 0;
};

// Per map: the network's input, then the output of each block.
struct MemoryPlan {
  std::vector<MapSize> sizes;
  std::vector<size_t> elements;  // Per image, including the halo.

  // The sizes, in elements per image, of two buffers that alternately hold maps `first` to `last`, starting
  // with the first buffer.
  std::array<size_t, 2> PingPong(size_t first, size_t last) const;
};

// `halo` is the border of zeros, in pixels, that the backend keeps around each map (0 for none).
MemoryPlan PlanMemory(const NetworkShape& shape, int halo);

}  // namespace repvgg
