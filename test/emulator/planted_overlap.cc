#include "test/emulator/planted_overlap.h"

#include "cuda/launch.cuh"
#include "cuda/ptx_sm90a.cuh"

namespace repvgg::emulator {
namespace {

using namespace cuda;

constexpr int kThreads = 128;
constexpr int kWords = kPlantOverlapWords;

__global__ void First(uint32_t* between) {
  AllowNextKernel();
  for (int i = threadIdx.x; i < kWords; i += kThreads) between[i] = i;
}

// Half of the words come by ordinary loads, half by TMA.
template <PlantOverlap kPlant>
__global__ void Second(const __grid_constant__ TensorMap map, const uint32_t* between, uint32_t* out) {
  const auto* const words = reinterpret_cast<const uint32_t*>(SharedMemory());
  uint64_t* const barrier = reinterpret_cast<uint64_t*>(SharedMemory() + kWords * 2);
  if (threadIdx.x == 0) MbarrierInit(barrier, 1), MbarrierInitFence();
  if (kPlant == PlantOverlap::kEarlyWrite) out[threadIdx.x] = 0;
  __syncthreads();
  const auto load = [&] {
    MbarrierArriveExpect(barrier, kWords * 2);
    TmaLoad(SharedMemory(), map, 0, 0, 0, 0, barrier);
  };
  if (threadIdx.x == 0) {
    if (kPlant == PlantOverlap::kEarlyLoad) load();
    if (kPlant != PlantOverlap::kMissingWait) WaitForPreviousKernel();
    if (kPlant != PlantOverlap::kEarlyLoad) load();
  }
  if (kPlant != PlantOverlap::kMissingBarrier) MbarrierWait(barrier, 0);
  for (int i = threadIdx.x; i < kWords / 2; i += kThreads) out[kWords / 2 + i] = 2 * between[kWords / 2 + i];
  MbarrierWait(barrier, 0);
  for (int i = threadIdx.x; i < kWords / 2; i += kThreads) out[i] = 2 * words[i];
}

template <PlantOverlap... kPlants>
struct Table {
  static constexpr void (*kKernels[])(const TensorMap, const uint32_t*, uint32_t*) = {&Second<kPlants>...};
};
using Plants = Table<PlantOverlap::kNothing, PlantOverlap::kMissingWait, PlantOverlap::kMissingBarrier,
                     PlantOverlap::kEarlyWrite, PlantOverlap::kEarlyLoad>;

}  // namespace

void LaunchPlantedOverlap(PlantOverlap plant, uint32_t* between, uint32_t* out) {
  cudaSetDevice(0);  // The one that a test of failures may have lost.
  // Rows of 16 bytes, which are not swizzled.
  TensorMap map;
  EncodeTiled({between, {8, kWords / 8, 1, 1}, {16, kWords * 2, kWords * 2}, {8, kWords / 8, 1, 1}},
              Precision::kFp16, &map);
  Launch(First, dim3(1), dim3(kThreads), 0, cudaStream_t{}, between);
  LaunchOverlapped(Plants::kKernels[static_cast<int>(plant)], dim3(1), dim3(kThreads), kWords * 2 + 8,
                   cudaStream_t{}, map, between, out);
}

}  // namespace repvgg::emulator
