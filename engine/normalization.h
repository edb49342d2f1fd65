// Normalisation as evaluated at run time: a lookup table for pixels, an affine map per channel.
#pragma once

#include <cmath>

#include "engine/network.h"

namespace repvgg {

// [3][256]: (v / 255 - mean) / stddev for every channel and value, with torchvision's order of operations.
inline std::vector<float> NormalizationTable(const std::array<float, 3>& mean,
                                             const std::array<float, 3>& stddev) {
  std::vector<float> table;
  for (int c = 0; c < 3; ++c) {
    for (int v = 0; v < 256; ++v) table.push_back((static_cast<float>(v) / 255.0f - mean[c]) / stddev[c]);
  }
  return table;
}

// Batch normalisation, per channel: y = scale * x + shift.
struct ChannelAffine {
  std::vector<float> scale, shift;
};

inline ChannelAffine ToAffine(const BatchNorm& batch_norm) {
  ChannelAffine affine;
  for (size_t c = 0; c < batch_norm.gamma.size(); ++c) {
    const double scale = batch_norm.gamma[c] / std::sqrt(batch_norm.variance[c] + batch_norm.eps);
    affine.scale.push_back(static_cast<float>(scale));
    affine.shift.push_back(static_cast<float>(batch_norm.beta[c] - batch_norm.mean[c] * scale));
  }
  return affine;
}

}  // namespace repvgg
