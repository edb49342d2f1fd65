// A block in train form: 1x1 convolution, the three batch normalisations, their sum and the ReLU, in one
// kernel after the 3x3 convolution. It exists to check fused networks, hence plain: fp32 multiply-adds for
// any map type.
//
// Tiling. 128 threads compute 32 pixels x 64 channels of one group, 4 x 4 per thread; 16 input channels at a
// time pass through shared memory (2 KB of pixels, 4 KB of weights), without overlapping loads and
// arithmetic.
//
// Limits. Any channels, stride 1 and 2; not fp8.
#include "cuda/element.cuh"
#include "cuda/launch.cuh"
#include "cuda/train_form.h"

namespace repvgg::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kPixels = 32;
constexpr int kChannels = 64;
constexpr int kInner = 16;
constexpr int kPixelPitch = kPixels + 1;

template <Precision kPrecision>
__global__ void __launch_bounds__(kThreads) TrainFormKernel(const TrainFormLayer layer) {
  using T = Element<kPrecision>;
  const Convolution& shape = layer.shape;
  float* const pixels = reinterpret_cast<float*>(SharedMemory());  // [channel in][pixel]
  float* const weights = pixels + kInner * kPixelPitch;            // [channel in][channel out]
  const int group_in = shape.group_in(), group_out = shape.group_out();
  const int channel_tiles = DivideUp(group_out, kChannels);
  const int first_pixel = blockIdx.x * kPixels;
  const int group = blockIdx.y / channel_tiles;
  const int first_channel = blockIdx.y % channel_tiles * kChannels;
  const int out_width = shape.out_width(), out_height = shape.out_height();
  const T* const in = static_cast<const T*>(shape.in);
  const auto source = [&](int pixel) {  // The input pixel at the window's centre.
    const int x = pixel % out_width * shape.stride, line = pixel / out_width;
    const int y = line % out_height * shape.stride, image = line / out_height;
    return in + (static_cast<size_t>(image) * shape.height + y) * shape.width * shape.in_channels +
           x * shape.in_channels;
  };

  const int row = threadIdx.x / 16, column = threadIdx.x % 16;
  float sum[4][4] = {};  // Pixels row + 8 i, channels column + 16 j.
  for (int first = 0; first < group_in; first += kInner) {
    for (int i = threadIdx.x; i < kInner * kPixels; i += kThreads) {
      const int channel = first + i % kInner, pixel = first_pixel + i / kInner;
      const bool valid = channel < group_in && pixel < shape.pixels();
      pixels[i % kInner * kPixelPitch + i / kInner] =
          valid ? ToFloat(source(pixel)[group * group_in + channel]) : 0;
    }
    for (int i = threadIdx.x; i < kInner * kChannels; i += kThreads) {
      const int channel = first + i / kChannels, out = first_channel + i % kChannels;
      const bool valid = channel < group_in && out < group_out;
      weights[i] =
          valid ? layer.pointwise[(static_cast<size_t>(group) * group_in + channel) * group_out + out] : 0;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kInner; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          sum[i][j] += pixels[k * kPixelPitch + row + 8 * i] * weights[k * kChannels + column + 16 * j];
        }
      }
    }
    __syncthreads();
  }

  for (int i = 0; i < 4; ++i) {
    const int pixel = first_pixel + row + 8 * i;
    if (pixel >= shape.pixels()) continue;
    const size_t at = static_cast<size_t>(pixel) * shape.out_channels;
    for (int j = 0; j < 4; ++j) {
      if (first_channel + column + 16 * j >= group_out) continue;
      const int channel = group * group_out + first_channel + column + 16 * j;
      const float dense = ToFloat(static_cast<const T*>(layer.dense)[at + channel]);
      float result = dense * layer.dense_affine.scale[channel] + layer.dense_affine.shift[channel] +
                     (sum[i][j] + layer.pointwise_bias[channel]) * layer.pointwise_affine.scale[channel] +
                     layer.pointwise_affine.shift[channel];
      if (layer.identity_affine.scale) {
        result += ToFloat(source(pixel)[channel]) * layer.identity_affine.scale[channel] +
                  layer.identity_affine.shift[channel];
      }
      StoreOne<kPrecision>(static_cast<T*>(shape.out) + at + channel, shape.relu ? Relu(result) : result);
    }
  }
}

}  // namespace

std::vector<float> PackPointwise(const Convolution& shape, const float* weight) {
  const int group_in = shape.group_in(), group_out = shape.group_out();
  std::vector<float> packed(static_cast<size_t>(shape.out_channels) * group_in);
  for (int k = 0; k < shape.out_channels; ++k) {
    for (int c = 0; c < group_in; ++c) {
      packed[(static_cast<size_t>(k / group_out) * group_in + c) * group_out + k % group_out] =
          weight[static_cast<size_t>(k) * group_in + c];
    }
  }
  return packed;
}

cudaError_t LaunchTrainForm(const TrainFormLayer& layer, Precision precision, cudaStream_t stream) {
  const Convolution& shape = layer.shape;
  const dim3 grid(DivideUp(shape.pixels(), kPixels), DivideUp(shape.group_out(), kChannels) * shape.groups);
  return WithPrecision(precision, [&]<Precision kPrecision>() {
    return Launch(TrainFormKernel<kPrecision>, grid, dim3(kThreads),
                  kInner * (kPixelPitch + kChannels) * sizeof(float), stream, layer);
  });
}

}  // namespace repvgg::cuda
