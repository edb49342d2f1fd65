#include "cuda/launch.cuh"
#include "cuda/ptx_sm90a.cuh"
#include "test/gpu/wrappers.h"

namespace repvgg::gpu {
namespace {

using namespace repvgg::cuda;

template <typename T>
__global__ void MmaKernel(const uint32_t* a, const uint32_t* b, float* d) {
  const int lane = threadIdx.x;
  uint32_t own_a[4], own_b[2];
  float own_d[4];
  for (int i = 0; i < 4; ++i) own_a[i] = a[lane * 4 + i], own_d[i] = d[lane * 4 + i];
  for (int i = 0; i < 2; ++i) own_b[i] = b[lane * 2 + i];
  Mma<T>(own_d, own_a, own_b);
  for (int i = 0; i < 4; ++i) d[lane * 4 + i] = own_d[i];
}

__global__ void LdMatrixKernel(const uint32_t* matrices, uint32_t* out) {
  uint32_t* const shared = reinterpret_cast<uint32_t*>(SharedMemory());
  const int lane = threadIdx.x;
  for (int i = 0; i < 4; ++i) shared[i * 32 + lane] = matrices[i * 32 + lane];
  __syncthreads();
  uint32_t four[4], two[2];
  LdMatrixX4(four, shared + lane * 4);
  LdMatrixX2(two, shared + lane % 16 * 4);
  for (int i = 0; i < 4; ++i) out[lane * 6 + i] = four[i];
  for (int i = 0; i < 2; ++i) out[lane * 6 + 4 + i] = two[i];
}

__global__ void CpAsyncKernel(const uint32_t* in, uint32_t* out) {
  uint32_t* const shared = reinterpret_cast<uint32_t*>(SharedMemory());
  const int lane = threadIdx.x;
  CpAsync<16>(shared + lane * 4, in + lane * 4, lane % 2 == 0);
  CpAsyncCommit();
  CpAsyncWait<0>();
  __syncthreads();
  for (int i = 0; i < 4; ++i) out[i * 32 + lane] = shared[i * 32 + lane];
}

__global__ void ConvertKernel(const float* in, Converted* out) {
  const int at = blockIdx.x * 32 + threadIdx.x;
  const float value = in[at];
  out[at] = {RoundToTf32(value),        FromFloat<Half>(value).bits,   FromFloat<BFloat16>(value).bits,
             Pack<Half>(value, -value), Pack<BFloat16>(value, -value), Pack<Fp8>(value, -value),
             ShuffleXor(value, 5)};
}

constexpr int kRelayThreads = 128;
constexpr int kRelayBlocks = 256;  // Of each kernel: about two for every multiprocessor.
constexpr long long kRelayClocks = 4'000'000;
constexpr int kRelayShare = kRelayValues / kRelayBlocks;

__device__ void CountStale(const uint32_t* values, uint32_t round, uint32_t* stale) {
  uint32_t count = 0;
  for (int i = threadIdx.x; i < kRelayValues; i += kRelayThreads) count += values[i] != RelayValue(round, i);
  if (count > 0) atomicAdd(stale, count);
}

__global__ void RelayFirst(const Relay relay, uint32_t round) {
  AllowNextKernel();
  WaitForPreviousKernel();
  if (threadIdx.x == 0) {
    const volatile uint32_t* const begun = relay.begun;
    const long long start = clock64();
    while (*begun != round && clock64() - start < kRelayClocks) {
    }
    if (blockIdx.x == 0 && *begun == round) atomicAdd(relay.early, 1);
  }
  __syncthreads();
  const int i = blockIdx.x * kRelayShare + threadIdx.x;
  if (threadIdx.x < kRelayShare) relay.values[i] = RelayValue(round, i);
}

// One thread of a block waits, as in gemm_sm90a.cuh.
__global__ void RelaySecond(const Relay relay, uint32_t round) {
  AllowNextKernel();
  if (threadIdx.x == 0) WaitForPreviousKernel();
  __syncthreads();
  CountStale(relay.values, round, relay.stale);
  const int i = blockIdx.x * kRelayShare + threadIdx.x;
  if (threadIdx.x < kRelayShare) relay.copies[i] = relay.values[i];
}

__global__ void RelayThird(const Relay relay, uint32_t round) {
  AllowNextKernel();
  if (threadIdx.x == 0) {
    if (blockIdx.x == 0) atomicExch(relay.begun, round);
    WaitForPreviousKernel();
  }
  __syncthreads();
  CountStale(relay.values, round, relay.stale + 1);
  CountStale(relay.copies, round, relay.stale + 2);
}

__global__ void ClusterKernel(int blocks, float* out) {
  float4* const own = reinterpret_cast<float4*>(SharedMemory());
  const int rank = ClusterRank(), from = threadIdx.x;
  if (threadIdx.x == 0) *own = make_float4(1.0f + rank, 0, 0, 0);
  __syncwarp();
  ClusterBarrier();
  if (from < blocks) out[rank * kLargestCluster + from] = LoadFromBlock(own, from).x;
  __syncwarp();
  ClusterBarrier();
}

}  // namespace

cudaError_t RunMma(Precision precision, const uint32_t* a, const uint32_t* b, float* d) {
  const auto kernel = precision == Precision::kFp16   ? MmaKernel<Half>
                      : precision == Precision::kBf16 ? MmaKernel<BFloat16>
                                                      : MmaKernel<float>;
  return Launch(kernel, dim3(1), dim3(32), 0, nullptr, a, b, d);
}

cudaError_t RunLdMatrix(const uint32_t* matrices, uint32_t* out) {
  return Launch(LdMatrixKernel, dim3(1), dim3(32), 512, nullptr, matrices, out);
}

cudaError_t RunCpAsync(const uint32_t* in, uint32_t* out) {
  return Launch(CpAsyncKernel, dim3(1), dim3(32), 512, nullptr, in, out);
}

cudaError_t RunConvert(const float* in, Converted* out, int warps) {
  return Launch(ConvertKernel, dim3(warps), dim3(32), 0, nullptr, in, out);
}

bool MayOverlap() { return CanOverlap(ConvertKernel); }

cudaError_t RunRelay(const Relay& relay, uint32_t round, cudaStream_t stream) {
  const dim3 grid(kRelayBlocks), block(kRelayThreads);
  cudaError_t error = LaunchOverlapped(RelayFirst, grid, block, 0, stream, relay, round);
  if (error == cudaSuccess) error = LaunchOverlapped(RelaySecond, grid, block, 0, stream, relay, round);
  if (error == cudaSuccess) error = LaunchOverlapped(RelayThird, grid, block, 0, stream, relay, round);
  return error;
}

cudaError_t RunCluster(int blocks, size_t shared_bytes, float* out, int* fit) {
  const auto error = CountClusters(ClusterKernel, blocks, dim3(32), shared_bytes, fit);
  if (error != cudaSuccess) return error;
  return LaunchAs(false, blocks, ClusterKernel, dim3(blocks), dim3(32), shared_bytes, nullptr, blocks, out);
}

}  // namespace repvgg::gpu
