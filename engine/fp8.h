// A network in fp8: which numbers stand for the values of its weights and maps, as e4m3.
//
// Maps. Channel c of a map holds x / s_c. The s_c come from calibration: the largest value of each channel
// over some images. Rounding errors of e4m3 are relative, so nothing is gained by filling the range: the
// largest value seen becomes 28 to 56 of 448, which leaves room for 8 times as much, and has 8 binades of
// full precision and more below it. A channel that calibration saw next to nothing of is taken to reach a
// 64th of the largest.
//
// Weights. Output channel k has w_kc s_c / t_k, the largest of them 224 to 448, and its sums are multiplied
// by t_k (divided by the s_k of the next map). All s and t are powers of two, so that nothing but the formats
// rounds.
//
// The first block computes with weights and pixels as in fp16, and the last gives its pooled values as in
// fp16.
#pragma once

#include <vector>

#include "engine/network.h"

namespace repvgg {

struct QuantizedBlock {
  std::vector<float> weight;  // Values of e4m3; of the first block any.
  std::vector<float> scale;   // [out_channels]: what sums are multiplied by; of the first block 1.
  std::vector<float> bias;
  DeployBlock view() const { return {weight, bias, {}, scale}; }
};

// Of NetworkShape::ranges.
QuantizedBlock QuantizeBlock(const NetworkShape& shape, size_t index, const DeployBlock& block);

}  // namespace repvgg
