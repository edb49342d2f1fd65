// What a GPU says of itself: memory and energy. The second comes from NVML, the driver's management library,
// which is looked for when it is first needed.
#pragma once

#include <cstdint>
#include <optional>

namespace repvgg::cuda {

struct Counters {
  // Of the whole device, whoever uses it; nothing where it cannot be asked.
  std::optional<uint64_t> memory_used;
  // Since the driver was loaded. NVML has it from Volta on.
  std::optional<uint64_t> millijoules;
};

Counters ReadCounters(int index);

}  // namespace repvgg::cuda
