// Runs functions of cuda/ptx.cuh and cuda/ptx_sm90a.cuh in small kernels. Pointers are device pointers.
#pragma once

#include <cstdint>

#include "cuda/convolution.h"
#include "cuda/runtime.h"

namespace repvgg::gpu {

// d[lane][4] += a[lane][4] * b[lane][2], as fragments of `precision` (not fp32).
cudaError_t RunMma(Precision precision, const uint32_t* a, const uint32_t* b, float* d);

// Four 8x8 matrices of 16-bit values, contiguous. out[lane]: 4 words of LdMatrixX4, 2 of LdMatrixX2.
cudaError_t RunLdMatrix(const uint32_t* matrices, uint32_t* out);

// Copies through CpAsync<16> and shared memory; every other group of 4 words is zero-filled.
cudaError_t RunCpAsync(const uint32_t* in, uint32_t* out);

struct Converted {
  float tf32;
  uint16_t half, bfloat16;
  uint32_t half_pair, bfloat16_pair, fp8_pair;  // The value and its negative.
  float shuffled;                               // The value of lane ^ 5.
};
cudaError_t RunConvert(const float* in, Converted* out, int warps);

// Whether LaunchOverlapped overlaps kernels of this build.
bool MayOverlap();

// Three overlapped kernels: the first writes RelayValue(round, i) to values[i], the second copies that to
// copies[i], the third reads both. The first one writes only when the third has begun, which it then says in
// *begun, or after some milliseconds: the others must wait nevertheless. It counts in *early how often it was
// so. Every block reads all values, so that they are in every L1 when the next round writes them. In `stale`
// are counted the values of another round: of the first kernel, read by the second; then of either, by the
// third.
struct Relay {
  uint32_t *values, *copies, *begun, *early, *stale;
};
inline constexpr int kRelayValues = 4096;
constexpr uint32_t RelayValue(uint32_t round, uint32_t i) { return round * kRelayValues + i; }
cudaError_t RunRelay(const Relay& relay, uint32_t round, cudaStream_t stream);

// A cluster of `blocks`, with `shared_bytes` each: out[reader][from] is what block `reader` reads in the
// shared memory of block `from`, which is 1 + from. *fit is the number of such clusters that fit the device.
inline constexpr int kLargestCluster = 8;
cudaError_t RunCluster(int blocks, size_t shared_bytes, float* out, int* fit);

}  // namespace repvgg::gpu
