#include "cuda/ptx_sm90a.cuh"
#include "test/gpu/peak.h"

namespace repvgg::gpu {
namespace {

using namespace cuda;

constexpr int kRounds = 512;
constexpr int kWgmmaThreads = 256, kMmaThreads = 512;
constexpr int kSharedBytes = (128 + 256) * 128;  // Two warpgroups' rows of 64 values, and 256 columns.

// Zeros would take less power, and run faster, than data.
REPVGG_DEVICE uint32_t RandomPair(unsigned seed) {
  const unsigned bits = seed * 2654435761u;
  return Pack<Half>(static_cast<float>(bits >> 24) / 256 - 0.5f,
                    static_cast<float>(bits >> 16 & 255) / 256 - 0.5f);
}

__global__ void __launch_bounds__(kWgmmaThreads, 1) PeakWgmmaKernel(float* out) {
  if constexpr (kSm90a) {
    unsigned char* const shared = SharedMemory();
    for (int i = threadIdx.x; i < kSharedBytes / 4; i += kWgmmaThreads) {
      reinterpret_cast<uint32_t*>(shared)[i] = RandomPair(i + 1);
    }
    FenceForTma();
    __syncthreads();
    const int warpgroup = WarpUniform(threadIdx.x / 128);
    const uint64_t a = MatrixDescriptor(SharedAddress(shared) + warpgroup * 64 * 128);
    const uint64_t b = MatrixDescriptor(SharedAddress(shared) + 128 * 128);
    float sum[128] = {};
    for (int round = 0; round < kRounds; ++round) {
      WgmmaFence();
#pragma unroll
      for (int part = 0; part < 4; ++part)
        Wgmma<Half, 256>(sum, NextDescriptor(a, part), NextDescriptor(b, part));
      WgmmaCommit();
      WgmmaWait<1>();
    }
    WgmmaWait<0>();
    float total = 0;
#pragma unroll
    for (int i = 0; i < 128; ++i) total += sum[i];
    out[blockIdx.x * kWgmmaThreads + threadIdx.x] = total;
  }
}

__global__ void __launch_bounds__(kMmaThreads) PeakMmaKernel(float* out) {
  uint32_t a[4][4], b[4][2];
  float sum[4][4][4] = {};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j)
      a[i][j] = RandomPair(threadIdx.x * 32 + i * 4 + j), b[i][j % 2] = a[i][j] ^ 0x8000;
  }
  for (int round = 0; round < kRounds; ++round) {
#pragma unroll
    for (int m = 0; m < 4; ++m) {
#pragma unroll
      for (int n = 0; n < 4; ++n) Mma<Half>(sum[m][n], a[m], b[n]);
    }
  }
  float total = 0;
#pragma unroll
  for (int i = 0; i < 64; ++i) total += sum[i / 16][i / 4 % 4][i % 4];
  out[blockIdx.x * kMmaThreads + threadIdx.x] = total;
}

}  // namespace

double PeakOperations(int multiprocessors, bool sm90a) {
  const double warps = kMmaThreads / 32, products = 16;
  return sm90a ? 2.0 * multiprocessors * kRounds * 2 * 64 * 256 * 64
               : 2.0 * multiprocessors * kRounds * warps * products * 16 * 8 * 16;
}

cudaError_t LaunchPeak(int multiprocessors, bool sm90a, float* out, cudaStream_t stream) {
  if (sm90a)
    return Launch(PeakWgmmaKernel, dim3(multiprocessors), dim3(kWgmmaThreads), kSharedBytes, stream, out);
  return Launch(PeakMmaKernel, dim3(multiprocessors), dim3(kMmaThreads), 0, stream, out);
}

}  // namespace repvgg::gpu
