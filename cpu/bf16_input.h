// The first layer's input in bf16 (im2col): for each output pixel one line with the window that it reads, 3 x
// 3 pixels of 3 channels. Normalised pixels would have rounding errors, the same for all pixels of a level.
// Levels minus an integer near their mean are exact; normalisation is folded into the first layer's weights.
#pragma once

#include <vector>

#include "cpu/bf16.h"
#include "cpu/bf16_kernels.h"
#include "cpu/bf16_maps.h"
#include "engine/network.h"

namespace repvgg::cpu {

constexpr int kWindowValues = 27;  // [row][column][channel]; the rest of a line is zeros.

class Bf16Input {
 public:
  Bf16Input(const NetworkShape& shape, const Bf16Kernels& kernels);

  // Writes the windows of one row of the first block's output. `pixels` is the whole image.
  void WriteWindows(const uint8_t* pixels, int row, Bf16* lines) const;

 private:
  const Bf16Kernels& kernels_;
  const int height_, width_, stride_;
  const int windows_;  // Of a row.
  float middle_[kLineChannels] = {};
  Bf16 border_[3];
};

struct FirstLayer {
  std::vector<float> weight, bias;
};

// The first block's weights and bias with normalisation folded in. An empty bias means zeros.
FirstLayer FoldNormalization(const NetworkShape& shape, Floats weight, Floats bias);

}  // namespace repvgg::cpu
