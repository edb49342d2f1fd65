#include "test/emulator/planted_orders.h"

#include "cuda/launch.cuh"
#include "cuda/ptx_sm90a.cuh"

namespace repvgg::emulator {
namespace {

using namespace cuda;

constexpr int kThreads = kPlantedOrderWarps * 32;

REPVGG_DEVICE void Act(PlantedAction action) {
  volatile int* const word = reinterpret_cast<int*>(SharedMemory());
  const int thread = threadIdx.x;
  if (thread < action.first || thread > action.last) return;
  if (action.kind == PlantedAction::kWrite) {
    *word = thread;
  }
  if (action.kind == PlantedAction::kRead) {
    [[maybe_unused]] const int read = *word;
  }
}

__global__ void Actions(PlantedAction before, PlantedOrder order, PlantedAction after, PlantedAction last) {
  Act({PlantedAction::kWrite, 0, 0});
  __syncthreads();
  Act(before);
  const int warp = threadIdx.x / 32;
  if (order == PlantedOrder::kWarps) __syncwarp();
  if (order == PlantedOrder::kBlock) __syncthreads();
  if (order == PlantedOrder::kTwoWarps && warp < 2) NamedBarrier(1, 64);
  if (order == PlantedOrder::kThreeWarps) NamedBarrier(warp < 3 ? 1 : 2, warp < 3 ? 96 : 64);
  Act(after);
  Act(last);
}

}  // namespace

void LaunchPlantedOrder(PlantedAction before, PlantedOrder order, PlantedAction after, PlantedAction last) {
  cudaSetDevice(0);  // The one that a test of failures may have lost.
  Launch(Actions, dim3(1), dim3(kThreads), sizeof(int), cudaStream_t{}, before, order, after, last);
}

}  // namespace repvgg::emulator
