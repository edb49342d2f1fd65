// The first layer with random values, and its result in float64.
#pragma once

#include "cuda/stem.h"

namespace repvgg::emulator {

struct StemProblem {
  std::vector<uint8_t> pixels;
  std::vector<float> normalized;  // From NormalizationTable.
  std::vector<float> weight;      // [out_channels][3][3][3], not rounded.
  std::vector<float> bias;
  std::vector<double> expected;  // [batch][out_height][out_width][out_channels]
};
// `stem` has no pointers.
StemProblem MakeStemProblem(const cuda::Stem& stem);

}  // namespace repvgg::emulator
