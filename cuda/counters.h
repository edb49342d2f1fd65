// A GPU's memory and energy counters. Energy comes from NVML, the driver's management library, which is
// loaded on first use.
#pragma once

#include "engine/devices.h"

namespace repvgg::cuda {

CudaCounters ReadCounters(int index);

}  // namespace repvgg::cuda
