// The first layer's input in bf16. Normalised pixels would be rounded, and all of a level by the same amount;
// levels less a whole number near their mean are held exactly. Normalisation is in the first layer's weights.
#pragma once

#include <vector>

#include "cpu/bf16.h"
#include "cpu/input_values.h"
#include "engine/network.h"

namespace repvgg::cpu {

InputValues<Bf16> MakeBf16InputValues(const NetworkShape& shape);

struct FirstLayer {
  std::vector<float> weight, bias;
};

// The first block's weights and bias for that input. An empty bias means zeros.
FirstLayer FoldNormalization(const NetworkShape& shape, Floats weight, Floats bias);

}  // namespace repvgg::cpu
