#include "engine/fp8.h"

#include <algorithm>
#include <cmath>

#include "engine/e4m3.h"
#include "engine/kernel_rounding.h"

namespace repvgg {
namespace {

constexpr float kHeadroom = 8;
constexpr float kLeastRange = 1.0f / 64;  // Relative to the largest range of the map.

// The smallest power of two s with value / s <= limit; 1 for 0.
float Scale(float value, float limit) {
  int exponent;
  const float fraction = std::frexp(value / limit, &exponent);
  return std::ldexp(1.0f, fraction == 0.5f ? exponent - 1 : exponent);
}

// The scales of the map that block `index` writes. The network's last map is not scaled.
std::vector<float> MapScales(const NetworkShape& shape, size_t index) {
  const int channels = shape.blocks[index].out_channels;
  std::vector<float> scales(channels, 1.0f);
  if (index + 1 == shape.blocks.size()) return scales;
  const float* const range = &shape.ranges[shape.first_channel(index)];
  const float least = *std::max_element(range, range + channels) * kLeastRange;
  for (int c = 0; c < channels; ++c) {
    scales[c] = Scale(std::max(range[c], least), kLargestE4m3 / kHeadroom);
  }
  return scales;
}

}  // namespace

QuantizedBlock QuantizeBlock(const NetworkShape& shape, size_t index, const DeployBlock& block) {
  const BlockShape& own = shape.blocks[index];
  const std::vector<float> out = MapScales(shape, index);
  QuantizedBlock to = {{block.weight.begin(), block.weight.end()},
                       std::vector<float>(own.out_channels, 1.0f),
                       {block.bias.begin(), block.bias.end()}};
  for (int k = 0; k < own.out_channels; ++k) to.bias[k] /= out[k];
  const int group_in = own.in_channels / own.groups, group_out = own.out_channels / own.groups;
  const size_t row = size_t{9} * group_in;
  if (index == 0) {
    for (size_t i = 0; i < to.weight.size(); ++i) to.weight[i] /= out[i / row];
    return to;
  }
  const std::vector<float> in = MapScales(shape, index - 1);
  for (int k = 0; k < own.out_channels; ++k) {
    float* const weight = &to.weight[k * row];
    float largest = 0;
    for (size_t i = 0; i < row; ++i) {
      weight[i] *= in[k / group_out * group_in + i / 9];
      largest = std::max(largest, std::abs(weight[i]));
    }
    const float scale = Scale(largest, kLargestE4m3);
    for (size_t i = 0; i < row; ++i) weight[i] /= scale;
    for (size_t i = 0; i < row; i += 9) {
      float rounded[9];
      RoundKernel(weight + i, rounded, RoundToE4m3);
      std::copy(rounded, rounded + 9, weight + i);
    }
    to.scale[k] = scale / out[k];
  }
  return to;
}

}  // namespace repvgg
