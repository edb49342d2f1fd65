// Measures a GPU's peak rates, which `repvgg bench` compares its results with.
#pragma once

#include "engine/devices.h"
#include "engine/precision.h"

namespace repvgg::cuda {

// Of device `index`: fp32 multiply-adds on registers and, unless the precision is fp32, the fastest matrix
// instruction for it ("wgmma", "mma.sync" or "wmma"). With `memory` also copies within device memory, which
// need 512 MiB, and reads by all multiprocessors of half the L2 cache, at most 16 MB. Each loop runs for
// about `seconds`. Throws Error.
DeviceLimits MeasureLimits(int index, Precision precision, double seconds, bool memory);

}  // namespace repvgg::cuda
