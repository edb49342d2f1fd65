// Measures the machine's peak rates: clock speeds depend on the load, and virtual machines do not tell what
// they run on.
#pragma once

#include "engine/devices.h"

namespace repvgg::cpu {

// Runs fp32 multiply-adds and, where the processor has bf16, its tile products (AMX) or dot products, each
// for `seconds` on `threads` threads at once. With `copy` also memcpy, which needs 256 MiB.
DeviceLimits MeasureLimits(int threads, double seconds, bool copy);

}  // namespace repvgg::cpu
