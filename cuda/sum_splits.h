// The second half of a convolution whose reduction is split: out = ReLU(bias + sum of the parts, in order).
#pragma once

#include "cuda/convolution.h"
#include "cuda/runtime.h"

namespace repvgg::cuda {

// `layer.workspace` is float [splits][pixels][out_channels]. fp16 and bf16, channels in multiples of 4.
cudaError_t LaunchSumSplits(const Convolution& layer, Precision precision, int splits, cudaStream_t stream);

}  // namespace repvgg::cuda
