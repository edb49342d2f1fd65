#include "cuda/buffer_plan.h"

#include <algorithm>

namespace repvgg::cuda {
namespace {

constexpr size_t kAlignment = 256;

}  // namespace

BufferPlan PlanBuffers(const MemoryPlan& plan, size_t images, size_t element,
                       const std::vector<size_t>& workspaces) {
  BufferPlan buffers;
  size_t workspace = 0, behind[2] = {};
  for (size_t map = 1; map < plan.elements.size(); ++map) {
    const size_t bytes = (images * plan.elements[map] * element + kAlignment - 1) / kAlignment * kAlignment;
    const size_t buffer = (map - 1) % 2;
    buffers.bytes[buffer] = std::max(buffers.bytes[buffer], bytes);
    const bool beside =  // In use together with a workspace, as output or as input of a block.
        workspaces[map - 1] > 0 || (map < workspaces.size() && workspaces[map] > 0);
    if (beside) behind[buffer] = std::max(behind[buffer], bytes);
    workspace = std::max(workspace, workspaces[map - 1]);
  }
  const auto growth = [&](int buffer) {
    const size_t needed = behind[buffer] + workspace;
    return needed > buffers.bytes[buffer] ? needed - buffers.bytes[buffer] : 0;
  };
  buffers.workspace_buffer = growth(1) < growth(0) ? 1 : 0;
  buffers.workspace_offset = behind[buffers.workspace_buffer];
  buffers.bytes[buffers.workspace_buffer] += growth(buffers.workspace_buffer);
  return buffers;
}

}  // namespace repvgg::cuda
