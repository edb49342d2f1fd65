// Host side of train_form.cu.
#pragma once

#include "cuda/convolution.h"
#include "cuda/runtime.h"

namespace repvgg::cuda {

// Batch normalisation at inference: x * scale + shift, per channel.
struct Affine {
  const float* scale = nullptr;
  const float* shift = nullptr;
};

// out = ReLU(dense_affine(dense) + pointwise_affine(conv1x1(in)) + identity_affine(in)): a block in train
// form. `dense` is the 3x3 convolution without bias and ReLU, from any of the convolution kernels.
struct TrainFormLayer {
  Convolution shape;                      // in, out, sizes and relu; weight and bias are unused.
  const void* dense = nullptr;            // [batch][out_height][out_width][out_channels]
  const float* pointwise = nullptr;       // From PackPointwise
  const float* pointwise_bias = nullptr;  // [out_channels]
  Affine dense_affine;
  Affine pointwise_affine;
  Affine identity_affine;  // Null where the block has no identity branch.
};

// `weight` is [out_channels][group_in]. The result is [group][group_in][group_out].
std::vector<float> PackPointwise(const Convolution& shape, const float* weight);

cudaError_t LaunchTrainForm(const TrainFormLayer& layer, Precision precision, cudaStream_t stream);

}  // namespace repvgg::cuda
