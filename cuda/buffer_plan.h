// How the maps and Winograd's workspace share the two buffers that a network's blocks read and write in turn.
#pragma once

#include <cstddef>
#include <vector>

#include "engine/memory_plan.h"

namespace repvgg::cuda {

struct BufferPlan {
  size_t bytes[2] = {};  // Map i, which block i reads, lies in buffer (i - 1) % 2; map 0 is the input.
  int workspace_buffer = 0;
  size_t workspace_offset = 0;
};

// For so many images of `element` bytes a value. `workspaces` has the bytes that each block needs while it
// runs. Early maps are the largest and Winograd's layers come later: their workspace lies behind their own
// maps, mostly in memory that is there for others.
BufferPlan PlanBuffers(const MemoryPlan& plan, size_t images, size_t element,
                       const std::vector<size_t>& workspaces);

}  // namespace repvgg::cuda
