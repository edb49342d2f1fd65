#pragma once

#include "cuda/chooser.h"

namespace repvgg::cuda {

// Measures layers as they run in a network: in a graph, and with inputs that no cache holds, since launches
// rotate over buffers that together exceed twice the L2. Memory is held from the first call until the
// function is destroyed.
MeasureLayer MakeLayerTimer(const DeviceTraits& device, Precision precision);

}  // namespace repvgg::cuda
