// Squeeze-and-excite of D2se and RepVGGplus: the head's pool and linear kernels, then one kernel that
// multiplies the maps by their gates, in place. That kernel is bound by memory bandwidth: it reads and writes
// the maps. (Pooling in the convolution's epilogue would save the pool's read.)
#include "cuda/element.cuh"
#include "cuda/head.h"
#include "cuda/launch.cuh"
#include "cuda/squeeze_excite.h"

namespace repvgg::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 4;

template <Precision kPrecision>
__global__ void __launch_bounds__(kThreads)
    GateKernel(Element<kPrecision>* maps, const float* gates, int image_elements, int channels, bool relu) {
  Element<kPrecision>* const image = maps + static_cast<size_t>(blockIdx.y) * image_elements;
  const float* const gate = gates + static_cast<size_t>(blockIdx.y) * channels;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int at = ((blockIdx.x * kPerThread + i) * kThreads + threadIdx.x) * 2;
    // With an even number of channels no pair straddles two pixels; otherwise values are processed one by
    // one.
    if (channels % 2 == 0) {
      if (at >= image_elements) return;
      const float gate0 = gate[at % channels], gate1 = gate[at % channels + 1];
      float first = ToFloat(image[at]) * gate0, second = ToFloat(image[at + 1]) * gate1;
      if (relu) first = Relu(first), second = Relu(second);
      StorePair<kPrecision>(image + at, first, second);
    } else {
      for (int e = at; e < at + 2 && e < image_elements; ++e) {
        const float value = ToFloat(image[e]) * gate[e % channels];
        StoreOne<kPrecision>(image + e, relu ? Relu(value) : value);
      }
    }
  }
}

}  // namespace

cudaError_t LaunchSqueezeExcite(const SqueezeExciteLayer& layer, Precision precision, cudaStream_t stream) {
  float* const mean = layer.scratch;
  float* const gates = mean + static_cast<size_t>(layer.batch) * layer.channels;
  float* const hidden = mean + SqueezeExciteMaps(layer.batch, layer.channels);
  cudaError_t error =
      LaunchPool(layer.maps, precision, layer.batch, layer.pixels, layer.channels, mean, stream);
  if (error != cudaSuccess) return error;
  error = LaunchLinear({mean, layer.down_weight, layer.down_bias, hidden, layer.batch, layer.squeezed,
                        layer.channels, Activation::kRelu},
                       stream);
  if (error != cudaSuccess) return error;
  error = LaunchLinear({hidden, layer.up_weight, layer.up_bias, gates, layer.batch, layer.channels,
                        layer.squeezed, Activation::kSigmoid},
                       stream);
  if (error != cudaSuccess) return error;
  const int image_elements = layer.pixels * layer.channels;
  return WithPrecision(precision, [&]<Precision kPrecision>() {
    return Launch(GateKernel<kPrecision>,
                  dim3(DivideUp(image_elements, kThreads * kPerThread * 2), layer.batch), dim3(kThreads), 0,
                  stream, static_cast<Element<kPrecision>*>(layer.maps), gates, image_elements,
                  layer.channels, layer.relu);
  });
}

}  // namespace repvgg::cuda
