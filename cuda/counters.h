// A GPU's memory and energy counters. Energy comes from NVML, the driver's management library, which is
// loaded on first use.
#pragma once

#include <cstdint>
#include <optional>

namespace repvgg::cuda {

struct Counters {
  // Bytes in use on the device, by all processes; nothing if they cannot be read.
  std::optional<uint64_t> memory_used;
  // Since the driver was loaded; from Volta on.
  std::optional<uint64_t> millijoules;
};

Counters ReadCounters(int index);

}  // namespace repvgg::cuda
