// Loops that do one thing as fast as a multiprocessor can, for limits.cc: nothing but registers, or one
// stream of loads. The results are stored so that the compiler keeps the work.
#include "cuda/element.cuh"
#include "cuda/limit_kernels.h"
#include "cuda/ptx_sm90a.cuh"

namespace repvgg::cuda {
namespace {

// Small numbers in every format, different ones: zeros would need less power, and let the clock rise.
REPVGG_DEVICE uint32_t OperandBits(uint32_t seed) { return 0x2c662c66u + seed * 0x00050003u % 0x00ff00ffu; }

template <Precision kPrecision>
__global__ void __launch_bounds__(kLimitThreads) MatrixLimitKernel(int rounds, float* out) {
  using T = Element<kPrecision>;
  const uint32_t a[4] = {threadIdx.x, threadIdx.x, threadIdx.x, threadIdx.x},
                 b[2] = {threadIdx.x, threadIdx.x};
  float sum[kLimitChains][4] = {};
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kLimitChains; ++i) Mma<T>(sum[i], a, b);
  }
  float total = 0;
#pragma unroll
  for (int i = 0; i < kLimitChains; ++i) total += sum[i][0] + sum[i][3];
  out[blockIdx.x * kLimitThreads + threadIdx.x] = total;
}

// Hopper's way: two groups of four warps, 64 x 256 x 64 each, from the same operands in shared memory.
template <typename T>
__global__ void __launch_bounds__(kLimitThreads, 1) WgmmaLimitKernel(int rounds, float* out) {
  if (!kSm90a) return;
  uint32_t* const shared = reinterpret_cast<uint32_t*>(SharedMemory());
  for (int i = threadIdx.x; i < kWgmmaSharedBytes / 4; i += kLimitThreads) shared[i] = OperandBits(i);
  FenceForTma();  // Wgmma reads by the same way as TMA.
  __syncthreads();
  const uint64_t a = MatrixDescriptor(SharedAddress(shared));
  const uint64_t b = MatrixDescriptor(SharedAddress(shared + 64 * 128 / 4));
  float sum[128] = {};
  for (int round = 0; round < rounds; ++round) {
    WgmmaFence();
#pragma unroll
    for (int part = 0; part < 4; ++part) Wgmma<T, 256>(sum, NextDescriptor(a, part), NextDescriptor(b, part));
    WgmmaCommit();
    WgmmaWait<1>();
  }
  WgmmaWait<0>();
  out[blockIdx.x * kLimitThreads + threadIdx.x] = sum[0] + sum[127];
}

// Volta's way.
__global__ void __launch_bounds__(kLimitThreads) WmmaLimitKernel(int rounds, float* out) {
  Half* const shared = reinterpret_cast<Half*>(SharedMemory());
  for (int i = threadIdx.x; i < 16 * 16 / 2; i += kLimitThreads) {
    reinterpret_cast<uint32_t*>(shared)[i] = OperandBits(i);
  }
  __syncthreads();
  WmmaPixels pixels;
  WmmaWeights weights;
  WmmaLoad(pixels, shared, 16);
  WmmaLoad(weights, shared, 16);
  WmmaSum sum[kLimitChains / 2];
#pragma unroll
  for (WmmaSum& one : sum) WmmaClear(one);
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (WmmaSum& one : sum) WmmaMultiply(one, pixels, weights);
  }
  __syncthreads();
  float* const result = out + static_cast<size_t>(blockIdx.x) * kLimitThreads;
#pragma unroll
  for (const WmmaSum& one : sum) {
    if (threadIdx.x < 32) WmmaStore(result, one, 16);
  }
}

__global__ void __launch_bounds__(kLimitThreads) FmaLimitKernel(int rounds, float factor, float* out) {
  float sum[kFmaChains];
#pragma unroll
  for (int i = 0; i < kFmaChains; ++i) sum[i] = static_cast<float>(threadIdx.x + i);
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kFmaChains; ++i) sum[i] = sum[i] * factor + factor;
  }
  float total = 0;
#pragma unroll
  for (int i = 0; i < kFmaChains; ++i) total += sum[i];
  out[blockIdx.x * kLimitThreads + threadIdx.x] = total;
}

// Each block reads all of `words` float4, beginning at a place of its own.
__global__ void __launch_bounds__(kLimitThreads) ReadLimitKernel(const float4* in, int words, float* out) {
  float total = 0;
  int at = static_cast<int>(static_cast<int64_t>(words) * blockIdx.x / gridDim.x) + threadIdx.x;
  for (int i = 0; i < words; i += kLimitThreads * 4) {
#pragma unroll
    for (int part = 0; part < 4; ++part, at += kLimitThreads) {
      if (at >= words) at -= words;
      const float4 four = in[at];
      total += four.x + four.y + four.z + four.w;
    }
  }
  out[blockIdx.x * kLimitThreads + threadIdx.x] = total;
}

}  // namespace

cudaError_t LaunchMatrixLimit(Precision precision, MatrixUnit unit, int blocks, int rounds, float* out,
                              cudaStream_t stream) {
  if (unit == MatrixUnit::kWmma) {
    return Launch(WmmaLimitKernel, dim3(blocks), dim3(kLimitThreads), 1024, stream, rounds, out);
  }
  if (unit == MatrixUnit::kWgmma) {
    const auto kernel = precision == Precision::kBf16 ? WgmmaLimitKernel<BFloat16> : WgmmaLimitKernel<Half>;
    return Launch(kernel, dim3(blocks), dim3(kLimitThreads), kWgmmaSharedBytes, stream, rounds, out);
  }
  return WithPrecision(precision, [&]<Precision kPrecision>() {
    return Launch(MatrixLimitKernel<kPrecision>, dim3(blocks), dim3(kLimitThreads), 0, stream, rounds, out);
  });
}

cudaError_t LaunchFmaLimit(int blocks, int rounds, float* out, cudaStream_t stream) {
  return Launch(FmaLimitKernel, dim3(blocks), dim3(kLimitThreads), 0, stream, rounds, 0.999f, out);
}

cudaError_t LaunchReadLimit(const void* in, int words, int blocks, float* out, cudaStream_t stream) {
  return Launch(ReadLimitKernel, dim3(blocks), dim3(kLimitThreads), 0, stream, static_cast<const float4*>(in),
                words, out);
}

}  // namespace repvgg::cuda
