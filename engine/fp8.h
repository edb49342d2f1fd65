// Quantisation of a network to fp8 (e4m3).
//
// Activations. Channel c of a map stores x / s_c. The scales s_c come from calibration: the largest value of
// each channel over some images. Rounding errors of e4m3 are relative, so filling its range gains nothing:
// the largest calibrated value maps to between 28 and 56 of 448. This leaves headroom of a factor of 8, and
// more than 8 binades of full precision below. A channel that was nearly zero during calibration is taken to
// reach 1/64 of the map's largest value.
//
// Weights. Those of output channel k are stored as w_kc s_c / t_k, the largest magnitude between 224 and 448;
// sums are multiplied by t_k, and divided by the scale s_k of the output map. All s and t are powers of two,
// so scaling itself is exact.
//
// The first block computes on weights and pixels as in fp16, and the last block's pooled output is as in
// fp16.
#pragma once

#include <vector>

#include "engine/network.h"

namespace repvgg {

struct QuantizedBlock {
  std::vector<float> weight;  // Values representable in e4m3, except in the first block.
  std::vector<float> scale;   // [out_channels]: factors of the sums; 1 in the first block.
  std::vector<float> bias;
  DeployBlock view() const { return {weight, bias, {}, scale}; }
};

// Quantises a block according to NetworkShape::ranges.
QuantizedBlock QuantizeBlock(const NetworkShape& shape, size_t index, const DeployBlock& block);

}  // namespace repvgg
