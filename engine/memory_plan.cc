#include "engine/memory_plan.h"

#include <algorithm>

namespace repvgg {

MemoryPlan PlanMemory(const NetworkShape& shape, int halo) {
  const auto elements = [halo](MapSize size, int channels) {
    return static_cast<size_t>(size.height + 2 * halo) * (size.width + 2 * halo) * channels;
  };
  MemoryPlan plan;
  plan.sizes.push_back({shape.height, shape.width});
  plan.elements[0] = elements(plan.sizes[0], shape.blocks.front().in_channels);
  for (size_t i = 0; i < shape.blocks.size(); ++i) {
    const BlockShape& block = shape.blocks[i];
    const MapSize in = plan.sizes.back();
    const MapSize out = {(in.height - 1) / block.stride + 1, (in.width - 1) / block.stride + 1};
    plan.sizes.push_back(out);
    size_t& written = plan.elements[(i + 1) % 2];
    written = std::max(written, elements(out, block.out_channels));
    if (shape.form == Form::kTrain) {
      plan.branch_elements = std::max(plan.branch_elements, elements(out, block.out_channels));
    }
  }
  return plan;
}

}  // namespace repvgg
