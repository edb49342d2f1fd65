// Places the maps and the convolutions' workspace in the two buffers that a network's blocks alternately read
// and write.
#pragma once

#include <cstddef>
#include <vector>

#include "engine/memory_plan.h"

namespace repvgg::cuda {

struct BufferPlan {
  size_t bytes[2] = {};  // Map i, the input of block i, lies in buffer (i - 1) % 2; map 0 is the pixels.
  int workspace_buffer = 0;
  size_t workspace_offset = 0;
};

// Plans for `images` images with `element` bytes per value; `workspaces` are the blocks' workspaces in bytes.
// Early maps are the largest and Winograd layers come later, so the workspace is placed behind the maps of
// the layers that use it, mostly in memory that earlier maps need anyway.
BufferPlan PlanBuffers(const MemoryPlan& plan, size_t images, size_t element,
                       const std::vector<size_t>& workspaces);

}  // namespace repvgg::cuda
