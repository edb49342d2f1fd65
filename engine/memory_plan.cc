#include "engine/memory_plan.h"

#include <algorithm>

namespace repvgg {

std::array<size_t, 2> MemoryPlan::PingPong(size_t first, size_t last) const {
  std::array<size_t, 2> buffers = {};
  for (size_t map = first; map <= last; ++map) {
    size_t& buffer = buffers[(map - first) % 2];
    buffer = std::max(buffer, elements[map]);
  }
  return buffers;
}

MemoryPlan PlanMemory(const NetworkShape& shape, int halo) {
  MemoryPlan plan;
  const auto add = [&](MapSize size, int channels) {
    plan.sizes.push_back(size);
    plan.elements.push_back(static_cast<size_t>(size.height + 2 * halo) * (size.width + 2 * halo) * channels);
  };
  add({shape.height, shape.width}, shape.blocks.empty() ? 3 : shape.blocks.front().in_channels);
  for (const BlockShape& block : shape.blocks) {
    const MapSize in = plan.sizes.back();
    add({(in.height - 1) / block.stride + 1, (in.width - 1) / block.stride + 1}, block.out_channels);
  }
  return plan;
}

}  // namespace repvgg
