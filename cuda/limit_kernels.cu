// Microbenchmarks for limits.cc: loops that saturate one resource of a multiprocessor, with operands in
// registers (wgmma: shared memory) or one stream of loads. Results are stored so that the compiler keeps the
// work.
#include "cuda/element.cuh"
#include "cuda/launch.cuh"
#include "cuda/limit_kernels.h"
#include "cuda/ptx_sm90a.cuh"

namespace repvgg::cuda {
namespace {

template <typename T>
REPVGG_DEVICE uint32_t RandomOperand(uint32_t seed) {
  if constexpr (sizeof(T) == 4) {
    return FloatBits(RoundToTf32(LimitValue(seed + 1)));
  } else if constexpr (sizeof(T) == 2) {
    return Pack<T>(LimitValue(2 * seed + 1), LimitValue(2 * seed + 2));
  } else {
    const auto normal = [&](uint32_t bits) { return 100 * LimitValue(4 * seed + bits); };
    return Pack<T>(normal(1), normal(2)) | Pack<T>(normal(3), normal(4)) << 16;
  }
}

// As in a kernel's main loop, consecutive mmas have different operands. Each round cancels the previous one,
// so that sums stay as small as a layer's.
template <Precision kPrecision>
__global__ void __launch_bounds__(kLimitThreads) MatrixLimitKernel(int rounds, float* out) {
  using T = Element<kPrecision>;
  constexpr int kRows = 2, kColumns = kLimitChains / kRows;
  constexpr uint32_t kSigns = sizeof(T) == 4 ? 0x80000000u : 0x80008000u;
  const uint32_t seed = (blockIdx.x * kLimitThreads + threadIdx.x) * (kRows * 4 + kColumns * 2);
  uint32_t a[kRows][4], b[kColumns][2];
#pragma unroll
  for (int i = 0; i < kRows * 4; ++i) a[i / 4][i % 4] = RandomOperand<T>(seed + i);
#pragma unroll
  for (int i = 0; i < kColumns * 2; ++i) b[i / 2][i % 2] = RandomOperand<T>(seed + kRows * 4 + i);
  float sum[kLimitChains][4] = {};
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kLimitChains; ++i) Mma<T>(sum[i], a[i / kColumns], b[i % kColumns]);
#pragma unroll
    for (int i = 0; i < kColumns * 2; ++i) b[i / 2][i % 2] ^= kSigns;
  }
  float total = 0;
#pragma unroll
  for (int i = 0; i < kLimitChains; ++i) total += sum[i][0] + sum[i][3];
  out[blockIdx.x * kLimitThreads + threadIdx.x] = total;
}

// wgmma: two warpgroups, 64 x 256 x 64 each, on the same operands in shared memory.
template <typename T>
__global__ void __launch_bounds__(kLimitThreads, 1) WgmmaLimitKernel(int rounds, float* out) {
  if (!kSm90a) return Trap();
  uint32_t* const shared = reinterpret_cast<uint32_t*>(SharedMemory());
  for (int i = threadIdx.x; i < kWgmmaSharedBytes / 4; i += kLimitThreads) shared[i] = RandomOperand<T>(i);
  FenceForTma();  // wgmma reads through the async proxy, like TMA.
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

// wmma for Volta, with two operands of each kind.
__global__ void __launch_bounds__(kLimitThreads) WmmaLimitKernel(int rounds, float* out) {
  constexpr int kValues = 16 * 16;
  Half* const shared = reinterpret_cast<Half*>(SharedMemory());
  for (int i = threadIdx.x; i < 4 * kValues / 2; i += kLimitThreads) {
    reinterpret_cast<uint32_t*>(shared)[i] = RandomOperand<Half>(i);
  }
  __syncthreads();
  WmmaPixels pixels[2];
  WmmaWeights weights[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    WmmaLoad(pixels[i], shared + i * kValues, 16);
    WmmaLoad(weights[i], shared + (2 + i) * kValues, 16);
  }
  WmmaSum sum[kLimitChains / 2];
#pragma unroll
  for (WmmaSum& one : sum) WmmaClear(one);
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kLimitChains / 2; ++i) WmmaMultiply(sum[i], pixels[i % 2], weights[i / 2 % 2]);
  }
  __syncthreads();
  float* const sums = reinterpret_cast<float*>(shared);
#pragma unroll
  for (int i = 0; i < kLimitChains / 2; ++i) {
    if (threadIdx.x < 32) WmmaStore(sums + i * kValues, sum[i], 16);
  }
  __syncthreads();
  float total = 0;
  for (int i = threadIdx.x; i < kLimitChains / 2 * kValues; i += kLimitThreads) total += sums[i];
  out[blockIdx.x * kLimitThreads + threadIdx.x] = total;
}

// Every chain converges to a limit of its own, so that consecutive multiply-adds do not share operand bits.
// Each reads three registers, as in a convolution's main loop.
__global__ void __launch_bounds__(kLimitThreads) FmaLimitKernel(int rounds, float* out) {
  const uint32_t thread = blockIdx.x * kLimitThreads + threadIdx.x;
  float factor[4], addend[4], sum[kFmaChains] = {};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    factor[i] = FmaFactor(thread, i);
    addend[i] = FmaAddend(thread, i);
  }
#pragma unroll 16  // Reduces the loop's overhead from 4 % of the issue slots to 1 %.
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kFmaChains; ++i) sum[i] = sum[i] * factor[i / 4] + addend[i % 4];
  }
  float total = 0;
#pragma unroll
  for (int i = 0; i < kFmaChains; ++i) total += sum[i];
  out[thread] = total;
}

// Every block reads all of `words` float4, each from another offset on.
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
    return Launch(WmmaLimitKernel, dim3(blocks), dim3(kLimitThreads), kWmmaSharedBytes, stream, rounds, out);
  }
  if (unit == MatrixUnit::kWgmma) {
    const auto kernel = precision == Precision::kFp8    ? WgmmaLimitKernel<Fp8>
                        : precision == Precision::kBf16 ? WgmmaLimitKernel<BFloat16>
                                                        : WgmmaLimitKernel<Half>;
    return Launch(kernel, dim3(blocks), dim3(kLimitThreads), kWgmmaSharedBytes, stream, rounds, out);
  }
  return WithPrecision(precision, [&]<Precision kPrecision>() {
    return Launch(MatrixLimitKernel<kPrecision>, dim3(blocks), dim3(kLimitThreads), 0, stream, rounds, out);
  });
}

cudaError_t LaunchFmaLimit(int blocks, int rounds, float* out, cudaStream_t stream) {
  return Launch(FmaLimitKernel, dim3(blocks), dim3(kLimitThreads), 0, stream, rounds, out);
}

cudaError_t LaunchReadLimit(const void* in, int words, int blocks, float* out, cudaStream_t stream) {
  return Launch(ReadLimitKernel, dim3(blocks), dim3(kLimitThreads), 0, stream, static_cast<const float4*>(in),
                words, out);
}

}  // namespace repvgg::cuda
