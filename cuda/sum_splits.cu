// Adds the parts of a split reduction. A thread has four channels of a pixel and goes through the parts in
// order, so results depend on the number of parts and on nothing else.
//
// Where time goes. Expected, not measured: the start of the kernel; the parts of a layer of one image are a
// few MB in L2.
//
// Limits. Fp16 and bf16, channels in multiples of 4.
#include "cuda/element.cuh"
#include "cuda/sum_splits.h"

namespace repvgg::cuda {
namespace {

constexpr int kThreads = 128;

template <Precision kPrecision>
__global__ void __launch_bounds__(kThreads) SumSplitsKernel(const Convolution layer, int splits) {
  AllowNextKernel();
  WaitForPreviousKernel();
  const int elements = layer.pixels() * layer.out_channels;
  const int at = (blockIdx.x * kThreads + threadIdx.x) * 4;
  if (at >= elements) return;
  const float* const parts = static_cast<const float*>(layer.workspace) + at;
  float4 sum = *reinterpret_cast<const float4*>(layer.bias + at % layer.out_channels);
#pragma unroll 4
  for (int split = 0; split < splits; ++split) {
    const float4 part = *reinterpret_cast<const float4*>(parts + static_cast<size_t>(split) * elements);
    sum.x += part.x, sum.y += part.y, sum.z += part.z, sum.w += part.w;
  }
  if (layer.relu) sum = make_float4(Relu(sum.x), Relu(sum.y), Relu(sum.z), Relu(sum.w));
  using T = Element<kPrecision>;
  *reinterpret_cast<uint2*>(static_cast<T*>(layer.out) + at) =
      make_uint2(Pack<T>(sum.x, sum.y), Pack<T>(sum.z, sum.w));
}

}  // namespace

cudaError_t LaunchSumSplits(const Convolution& layer, Precision precision, int splits, cudaStream_t stream) {
  const dim3 blocks(DivideUp(layer.pixels() * layer.out_channels, kThreads * 4));
  const auto kernel =
      precision == Precision::kFp16 ? SumSplitsKernel<Precision::kFp16> : SumSplitsKernel<Precision::kBf16>;
  return LaunchOverlapped(kernel, blocks, dim3(kThreads), 0, stream, layer, splits);
}

}  // namespace repvgg::cuda
