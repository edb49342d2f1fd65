// Host side of head.cu: the layers after the last block; squeeze-and-excite uses the first two as well.
#pragma once

#include "cuda/convolution.h"
#include "cuda/runtime.h"

namespace repvgg::cuda {

// out[image][channel] = mean over the pixels. `maps` is [batch][pixels][channels] of the given precision.
cudaError_t LaunchPool(const void* maps, Precision precision, int batch, int pixels, int channels, float* out,
                       cudaStream_t stream);

// The same, from the sums of a layer that pools itself (Convolution::pooled).
cudaError_t LaunchPoolParts(const double* parts, int batch, int pixels, int channels, float* out,
                            cudaStream_t stream);

enum class Activation { kNone, kRelu, kSigmoid };

// out[image][row] = activation(bias[row] + dot(weight[row], in[image]))
struct LinearLayer {
  const float* in = nullptr;      // [batch][columns]
  const float* weight = nullptr;  // [rows][columns]
  const float* bias = nullptr;    // [rows]
  float* out = nullptr;           // [batch][rows]
  int batch = 0;
  int rows = 0;
  int columns = 0;
  Activation activation = Activation::kNone;
};
cudaError_t LaunchLinear(const LinearLayer& layer, cudaStream_t stream);

// SoftmaxTopK of engine/topk.h for each image, scores to a relative 5e-6 (computed in fp32). `logits` is
// [batch][count], the results are [batch][k].
cudaError_t LaunchSoftmaxTopK(const float* logits, int batch, int count, int k, int32_t* indices,
                              float* scores, cudaStream_t stream);

}  // namespace repvgg::cuda
