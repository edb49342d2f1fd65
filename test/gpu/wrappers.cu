#include "cuda/launch.cuh"
#include "cuda/ptx.cuh"
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
             Pack<Half>(value, -value), Pack<BFloat16>(value, -value), ShuffleXor(value, 5)};
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

}  // namespace repvgg::gpu
