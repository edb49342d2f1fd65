#include "cpu/bf16_input.h"

#include <algorithm>
#include <cmath>

namespace repvgg::cpu {
namespace {

// Differences to it are between -255 and 255, which bf16 holds.
double Middle(const NetworkShape& shape, int channel) {
  return std::clamp(std::round(255.0 * shape.mean[channel]), 0.0, 255.0);
}

// What is zero once normalised: so is padding.
Bf16 Border(const NetworkShape& shape, int channel) {
  return ToBf16(static_cast<float>(255.0 * shape.mean[channel] - Middle(shape, channel)));
}

}  // namespace

InputValues<Bf16> MakeBf16InputValues(const NetworkShape& shape) {
  InputValues<Bf16> values;
  for (int c = 0; c < 3; ++c) {
    for (int v = 0; v < 256; ++v) {
      values.of_level[c][v] = ToBf16(static_cast<float>(v - Middle(shape, c)));
    }
    values.border[c] = Border(shape, c);
  }
  return values;
}

FirstLayer FoldNormalization(const NetworkShape& shape, Floats weight, Floats bias) {
  const BlockShape& block = shape.blocks[0];
  const int group_in = block.in_channels / block.groups;
  const int group_out = block.out_channels / block.groups;
  FirstLayer folded;
  for (int k = 0; k < block.out_channels; ++k) {
    double sum = bias.empty() ? 0 : bias[k];
    for (int i = 0; i < group_in; ++i) {
      const int c = k / group_out * group_in + i;
      for (int tap = 0; tap < 9; ++tap) {
        const double scaled = weight[folded.weight.size()] / (255.0 * shape.stddev[c]);
        sum -= scaled * ToFloat(Border(shape, c));
        folded.weight.push_back(static_cast<float>(scaled));
      }
    }
    folded.bias.push_back(static_cast<float>(sum));
  }
  return folded;
}

}  // namespace repvgg::cpu
