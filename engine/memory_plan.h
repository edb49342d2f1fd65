// How much activation memory a batch needs. A plain chain of blocks needs two buffers, whatever its depth:
// each block reads one and writes the other. (The paper counts this among RepVGG's advantages over
// multi-branch networks, 3.2.)
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

// Of each map: the first is the input, and the others the outputs of the blocks.
struct MemoryPlan {
  std::vector<MapSize> sizes;
  std::vector<size_t> elements;  // Of one image, with the halo.

  // The two buffers, in elements of one image, that hold maps first to last when map `first` lies in the
  // first buffer, the next in the second, and so on in turn.
  std::array<size_t, 2> PingPong(size_t first, size_t last) const;
};

// `halo` is the border of zeros, in pixels, that the backend keeps around each map (0 for none).
MemoryPlan PlanMemory(const NetworkShape& shape, int halo);

}  // namespace repvgg
