// Global average pooling, linear layer, softmax and top-k. Sums are in fp32, except those of pooled parts,
// which are in double precision; an image's sums do not depend on the other images of its batch.
//
// Pool. A block takes 64 channels of one image: 32 pairs of channels x 8 threads, each of which sums every
// eighth pixel, and reduces them through 2 KB of shared memory. Reads whole lines once: bound by memory
// bandwidth.
//
// Pooled parts. One thread per image and channel adds the parts that the last convolution left.
//
// Linear. A warp computes 4 rows x 8 images; the lanes divide the columns, 12 float4 loads for 128
// multiply-adds, and reduce by shuffles. No shared memory; 32 accumulators and 12 float4 in registers.
// Weights are read once per 8 images, from L2 (10 MB for 2560 channels and 1000 classes). Bound by L1 at
// large batches, by reading the weights at batch 1.
//
// Softmax and top-k. One block per image: k passes over the logits, each finding the largest below the
// previous one, and one pass for the sum. This serves any k with 96 bytes of shared memory; ranking all of
// 1000 classes takes 1000 passes of half a microsecond.
//
// All times are predictions, not measurements.
#include "cuda/element.cuh"
#include "cuda/head.h"
#include "cuda/launch.cuh"

namespace repvgg::cuda {
namespace {

constexpr int kPoolRows = 8;
constexpr int kPoolPairs = 32;

template <Precision kPrecision>
__global__ void __launch_bounds__(kPoolRows* kPoolPairs)
    PoolKernel(const Element<kPrecision>* maps, int pixels, int channels, float* out) {
  AllowNextKernel();
  WaitForPreviousKernel();
  float* const partial = reinterpret_cast<float*>(SharedMemory());  // [row][channel]
  const int pair = threadIdx.x % kPoolPairs, row = threadIdx.x / kPoolPairs;
  const int channel = (blockIdx.x * kPoolPairs + pair) * 2;
  const Element<kPrecision>* from = maps + static_cast<size_t>(blockIdx.y) * pixels * channels + channel;
  float sum[2] = {};
#pragma unroll 4
  for (int pixel = row; pixel < pixels; pixel += kPoolRows) {
    const Element<kPrecision>* const at = from + static_cast<size_t>(pixel) * channels;
    if (channel < channels) sum[0] += ToFloat(at[0]);
    if (channel + 1 < channels) sum[1] += ToFloat(at[1]);
  }
  partial[(row * kPoolPairs + pair) * 2] = sum[0];
  partial[(row * kPoolPairs + pair) * 2 + 1] = sum[1];
  __syncthreads();
  const int own = threadIdx.x, own_channel = blockIdx.x * kPoolPairs * 2 + own;
  if (own >= kPoolPairs * 2 || own_channel >= channels) return;
  float total = 0;
#pragma unroll
  for (int i = 0; i < kPoolRows; ++i) total += partial[i * kPoolPairs * 2 + own];
  out[static_cast<size_t>(blockIdx.y) * channels + own_channel] = total / pixels;
}

constexpr int kPartsThreads = 128;

__global__ void __launch_bounds__(kPartsThreads)
    PoolPartsKernel(const double* parts, int pixels, int channels, float* out) {
  AllowNextKernel();
  WaitForPreviousKernel();
  const int image = blockIdx.y, channel = blockIdx.x * kPartsThreads + threadIdx.x;
  if (channel >= channels) return;
  const int first = image * pixels;
  const int count = (first + pixels - 1) / kPooledRows - first / kPooledRows + 1;
  const double* const own = parts + static_cast<size_t>(image) * PooledParts(pixels) * channels + channel;
  double sum = 0;
  for (int part = 0; part < count; ++part) sum += own[static_cast<size_t>(part) * channels];
  out[static_cast<size_t>(image) * channels + channel] = static_cast<float>(sum / pixels);
}

constexpr int kLinearRows = 4;
constexpr int kLinearImages = 8;
constexpr int kLinearWarps = 4;

// kVector values per load: 4, or 1 where rows are not aligned to 16 bytes.
template <int kVector>
__global__ void __launch_bounds__(kLinearWarps * 32) LinearKernel(const LinearLayer layer) {
  AllowNextKernel();
  WaitForPreviousKernel();
  const int lane = threadIdx.x % 32;
  const int first_row = (blockIdx.x * kLinearWarps + threadIdx.x / 32) * kLinearRows;
  const int first_image = blockIdx.y * kLinearImages;
  float sum[kLinearRows][kLinearImages] = {};
  for (int column = lane * kVector; column < layer.columns; column += 32 * kVector) {
    float weight[kLinearRows][kVector], value[kLinearImages][kVector];
    const auto load = [&](const float* from, float (&to)[kVector]) {
      if constexpr (kVector == 4) {
        const float4 four = *reinterpret_cast<const float4*>(from);
        to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
      } else {
        to[0] = *from;
      }
    };
    // Rows and images past the end repeat the last one; their results are not stored.
#pragma unroll
    for (int r = 0; r < kLinearRows; ++r) {
      const int row = first_row + r < layer.rows ? first_row + r : layer.rows - 1;
      load(layer.weight + static_cast<size_t>(row) * layer.columns + column, weight[r]);
    }
#pragma unroll
    for (int i = 0; i < kLinearImages; ++i) {
      const int image = first_image + i < layer.batch ? first_image + i : layer.batch - 1;
      load(layer.in + static_cast<size_t>(image) * layer.columns + column, value[i]);
    }
#pragma unroll
    for (int r = 0; r < kLinearRows; ++r) {
#pragma unroll
      for (int i = 0; i < kLinearImages; ++i) {
#pragma unroll
        for (int e = 0; e < kVector; ++e) sum[r][i] += weight[r][e] * value[i][e];
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kLinearRows; ++r) {
#pragma unroll
    for (int i = 0; i < kLinearImages; ++i) {
#pragma unroll
      for (int mask = 16; mask > 0; mask /= 2) sum[r][i] += ShuffleXor(sum[r][i], mask);
      const int row = first_row + r, image = first_image + i;
      // Each lane stores one result, so that a warp's stores coalesce.
      if (lane != r * kLinearImages + i || row >= layer.rows || image >= layer.batch) continue;
      float result = sum[r][i] + layer.bias[row];
      if (layer.activation == Activation::kRelu) result = Relu(result);
      if (layer.activation == Activation::kSigmoid) result = 1 / (1 + expf(-result));
      layer.out[static_cast<size_t>(image) * layer.rows + row] = result;
    }
  }
}

constexpr int kTopKThreads = 256;

// Sort key of a logit: larger first, then lower index; NaN last.
REPVGG_DEVICE uint64_t SortKey(float value, int index) {
  const uint32_t bits = FloatBits(value == 0 ? 0 : value);  // -0 equals 0.
  const uint32_t ordered = bits >> 31 ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(value == value ? ordered : 0) << 32 |
         (0xffffffffu - static_cast<uint32_t>(index));
}

template <typename T, typename Combine>
REPVGG_DEVICE T ReduceBlock(T value, T* scratch, Combine combine) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) value = combine(value, ShuffleXor(value, mask));
  if (lane == 0) scratch[warp] = value;
  __syncthreads();
  value = scratch[0];
#pragma unroll
  for (int i = 1; i < kTopKThreads / 32; ++i) value = combine(value, scratch[i]);
  __syncthreads();
  return value;
}

__global__ void __launch_bounds__(kTopKThreads)
    SoftmaxTopKKernel(const float* logits, int count, int k, int32_t* indices, float* scores) {
  auto* const keys = reinterpret_cast<uint64_t*>(SharedMemory());
  auto* const sums = reinterpret_cast<float*>(keys + kTopKThreads / 32);
  logits += static_cast<size_t>(blockIdx.x) * count;
  indices += static_cast<size_t>(blockIdx.x) * k;
  scores += static_cast<size_t>(blockIdx.x) * k;
  float largest = 0, sum = 0;
  uint64_t last = ~uint64_t{0};
  for (int i = 0; i < k; ++i) {
    uint64_t best = 0;
    for (int j = threadIdx.x; j < count; j += kTopKThreads) {
      const uint64_t key = SortKey(logits[j], j);
      if (key < last && key > best) best = key;
    }
    last = ReduceBlock(best, keys, [](uint64_t a, uint64_t b) { return a > b ? a : b; });
    const int index = static_cast<int>(0xffffffffu - static_cast<uint32_t>(last));
    if (i == 0) {
      largest = logits[index];
      for (int j = threadIdx.x; j < count; j += kTopKThreads) sum += expf(logits[j] - largest);
      sum = ReduceBlock(sum, sums, [](float a, float b) { return a + b; });
    }
    if (threadIdx.x == 0) {
      indices[i] = index;
      scores[i] = expf(logits[index] - largest) / sum;
    }
  }
}

}  // namespace

cudaError_t LaunchPool(const void* maps, Precision precision, int batch, int pixels, int channels, float* out,
                       cudaStream_t stream) {
  return WithPrecision(precision, [&]<Precision kPrecision>() {
    return LaunchOverlapped(PoolKernel<kPrecision>, dim3(DivideUp(channels, kPoolPairs * 2), batch),
                            dim3(kPoolRows * kPoolPairs), kPoolRows * kPoolPairs * 2 * sizeof(float), stream,
                            static_cast<const Element<kPrecision>*>(maps), pixels, channels, out);
  });
}

cudaError_t LaunchPoolParts(const double* parts, int batch, int pixels, int channels, float* out,
                            cudaStream_t stream) {
  return LaunchOverlapped(PoolPartsKernel, dim3(DivideUp(channels, kPartsThreads), batch),
                          dim3(kPartsThreads), 0, stream, parts, pixels, channels, out);
}

cudaError_t LaunchLinear(const LinearLayer& layer, cudaStream_t stream) {
  const dim3 grid(DivideUp(layer.rows, kLinearRows * kLinearWarps), DivideUp(layer.batch, kLinearImages));
  return LaunchOverlapped(layer.columns % 4 == 0 ? LinearKernel<4> : LinearKernel<1>, grid,
                          dim3(kLinearWarps * 32), 0, stream, layer);
}

cudaError_t LaunchSoftmaxTopK(const float* logits, int batch, int count, int k, int32_t* indices,
                              float* scores, cudaStream_t stream) {
  return Launch(SoftmaxTopKKernel, dim3(batch), dim3(kTopKThreads),
                kTopKThreads / 32 * (sizeof(uint64_t) + sizeof(float)), stream, logits, count, k, indices,
                scores);
}

}  // namespace repvgg::cuda
