// Adds the parts of a split reduction, four channels of a pixel per thread, in order: results depend on the
// number of parts and on nothing else.
//
// Where time goes. Predicted, not measured: the launch. The parts of a layer of one image are a few MB, in
// L2.
//
// Limits. fp16 and bf16, channels in multiples of 4.
#include "cuda/launch.cuh"
#include "cuda/sum_parts.cuh"
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
  StoreSumOfParts(static_cast<Element<kPrecision>*>(layer.out) + at, layer.bias + at % layer.out_channels,
                  layer.relu, splits, [&](int split) {
                    return *reinterpret_cast<const float4*>(parts + static_cast<size_t>(split) * elements);
                  });
}

}  // namespace

cudaError_t LaunchSumSplits(const Convolution& layer, Precision precision, int splits, cudaStream_t stream) {
  const dim3 blocks(DivideUp(layer.pixels() * layer.out_channels, kThreads * 4));
  const auto kernel =
      precision == Precision::kFp16 ? SumSplitsKernel<Precision::kFp16> : SumSplitsKernel<Precision::kBf16>;
  return LaunchOverlapped(kernel, blocks, dim3(kThreads), 0, stream, layer, splits);
}

}  // namespace repvgg::cuda
