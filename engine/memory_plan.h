// How much activation memory a batch needs. A plain chain of blocks needs two buffers, whatever its depth:
// block i reads one and writes the other. (The paper counts this among RepVGG's advantages over multi-branch
// networks, 3.2.)
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

struct MemoryPlan {
  std::vector<MapSize> sizes;           // sizes[0] is the input, sizes[i + 1] the output of block i.
  std::array<size_t, 2> elements = {};  // Per image. Block i reads buffer i % 2 and writes the other.
  size_t branch_elements = 0;  // Per image: one branch's output in the train form, the largest over blocks.
};

// `halo` is the border of zeros, in pixels, that the backend keeps around each map (0 for none).
MemoryPlan PlanMemory(const NetworkShape& shape, int halo);

}  // namespace repvgg
