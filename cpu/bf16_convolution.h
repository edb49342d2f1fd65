#pragma once

#include <vector>

#include "cpu/bf16_kernels.h"
#include "cpu/convolution_layer.h"
#include "engine/network.h"

namespace repvgg::cpu {

// A 3x3 convolution in bf16, direct.
class Bf16ConvolutionLayer : public ConvolutionLayer<Bf16> {
 public:
  // `weight` is [out_channels][in_channels / groups][3][3].
  Bf16ConvolutionLayer(const Bf16Kernels& kernels, const BlockShape& block, Floats weight, Floats bias);

  void Run(ThreadPool& pool, Scratch& scratch, int images, const Maps<Bf16>& in, const Maps<Bf16>& out,
           bool relu) const override;

 private:
  const Bf16Kernels& kernels_;
  Bf16Convolution convolution_;
  std::vector<WindowRun> steps_;
  HugeArray<Bf16> weight_;
  std::vector<float> bias_;
};

}  // namespace repvgg::cpu
