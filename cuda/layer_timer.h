#pragma once

#include "cuda/chooser.h"

namespace repvgg::cuda {

// Measures layers on the device as they run in a network: in a graph, and with inputs that no cache holds,
// because launches take turns over buffers that together are more than twice L2. Memory is held from the
// first call until the function is destroyed.
MeasureLayer MakeLayerTimer(const DeviceTraits& device, Precision precision);

}  // namespace repvgg::cuda
