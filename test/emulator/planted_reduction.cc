#include "test/emulator/planted_reduction.h"

#include "cuda/launch.cuh"
#include "cuda/ptx_sm90a.cuh"

namespace repvgg::emulator {
namespace {

using namespace cuda;

constexpr int kBlocks = kPlantReductionBlocks;
constexpr int kThreads = 32;
constexpr int kFours = kPlantReductionValues / 4;
constexpr int kShare = kFours / kBlocks;

template <PlantReduction kPlant>
__global__ void Planted(const float4* in, float4* out) {
  float4* const part = reinterpret_cast<float4*>(SharedMemory());
  const int rank = ClusterRank();
  WaitForPreviousKernel();
  for (int i = threadIdx.x; i < kFours; i += kThreads) part[i] = in[rank * kFours + i];
  if constexpr (kPlant == PlantReduction::kMissingBarrier) {
    __syncthreads();
  } else {
    ClusterBarrier();
  }
  const bool reuses = kPlant == PlantReduction::kEarlyReuse && rank + 1 < kBlocks;
  if (reuses) {
    for (int i = threadIdx.x; i < kFours; i += kThreads) part[i] = make_float4(0, 0, 0, 0);
  }
  for (int i = rank * kShare + threadIdx.x; i < (rank + 1) * kShare && !reuses; i += kThreads) {
    float4 sum = make_float4(0, 0, 0, 0);
    for (int block = 0; block < kBlocks; ++block) {
      const int from = kPlant == PlantReduction::kWrongRank       ? rank
                       : kPlant == PlantReduction::kWrongOrder    ? (rank + block) % kBlocks
                       : kPlant == PlantReduction::kBeyondCluster ? block + 1
                                                                  : block;
      const float4 one = cuda::LoadFromBlock(part + i, from);
      sum.x += one.x, sum.y += one.y, sum.z += one.z, sum.w += one.w;
    }
    out[i] = sum;
  }
  if constexpr (kPlant != PlantReduction::kMissingEndBarrier) {
    __syncwarp();
    ClusterBarrier();
  }
}

template <PlantReduction... kPlants>
struct Table {
  static constexpr void (*kKernels[])(const float4*, float4*) = {&Planted<kPlants>...};
};

using Plants = Table<PlantReduction::kNothing, PlantReduction::kMissingBarrier,
                     PlantReduction::kMissingEndBarrier, PlantReduction::kEarlyReuse,
                     PlantReduction::kBeyondCluster, PlantReduction::kWrongRank, PlantReduction::kWrongOrder>;

}  // namespace

cudaError_t LaunchPlantedReduction(PlantReduction plant, const float* in, float* out) {
  cudaSetDevice(0);  // The one that a test of failures may have lost.
  return LaunchClusters(Plants::kKernels[static_cast<int>(plant)], kBlocks, 1, dim3(kThreads),
                        sizeof(float) * kPlantReductionValues, cudaStream_t{},
                        reinterpret_cast<const float4*>(in), reinterpret_cast<float4*>(out));
}

}  // namespace repvgg::emulator
