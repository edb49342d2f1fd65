#include "test/emulator/planted_cluster.h"

#include "cuda/launch.cuh"
#include "cuda/ptx_sm90a.cuh"

namespace repvgg::emulator {
namespace {

using namespace cuda;

constexpr int kBlocks = 2;
constexpr int kStages = 2;
constexpr int kOperandBytes = 64 * 128;
constexpr int kStageBytes = 2 * kOperandBytes;
constexpr int kBarrierOffset = kStages * kStageBytes;
constexpr int kSharedBytes = kBarrierOffset + 2 * kStages * 8;
constexpr int kSteps = kPlantClusterInner / 64;
constexpr int kThreads = 160;  // Four warps that multiply, and one that loads.

struct Maps {
  TensorMap a, b;
};

template <PlantCluster kPlant>
__global__ void Planted(const __grid_constant__ Maps maps, float* c) {
  constexpr bool kSetup = kPlant != PlantCluster::kMissingSetupBarrier;
  unsigned char* const shared = SharedMemory();
  uint64_t* const full = reinterpret_cast<uint64_t*>(shared + kBarrierOffset);
  uint64_t* const empty = full + kStages;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, rank = ClusterRank();
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      MbarrierInit(full + stage, 1);
      MbarrierInit(empty + stage, kPlant == PlantCluster::kMissingPeerArrive ? 4 : 4 * kBlocks);
    }
    MbarrierInitFence();
  }
  __syncwarp();
  if constexpr (kSetup) ClusterSetupBarrier();
  if constexpr (!kSetup) __syncthreads();
  if (warp == 4) {
    if (lane == 0) {
      WaitForPreviousKernel();
      for (int step = 0; step < kSteps; ++step) {
        const int stage = step % kStages, turn = step / kStages & 1;
        unsigned char* const to = shared + stage * kStageBytes;
        if (kPlant != PlantCluster::kMissingEmptyWait) MbarrierWait(empty + stage, turn ^ 1);
        const int others = kPlant == PlantCluster::kHalfBytes ? kOperandBytes / 2 : 0;
        MbarrierArriveExpect(full + stage, kStageBytes - others);
        TmaLoad(to, maps.a, step * 64, 64 * rank, 0, 0, full + stage);
        TmaLoad<kBlocks>(to + kOperandBytes + rank * kOperandBytes / 2, maps.b, step * 64, 32 * rank, 0, 0,
                         full + stage);
      }
    }
  } else {
    const auto release = [&](int stage, int to) {
      if (lane == to) MbarrierArriveAt(empty + stage, kPlant == PlantCluster::kWrongRank ? 0 : to);
    };
    float sum[32] = {};
    for (int step = 0; step < kSteps; ++step) {
      const int stage = step % kStages;
      MbarrierWait(full + stage, step / kStages & 1);
      const uint64_t a = MatrixDescriptor(SharedAddress(shared + stage * kStageBytes));
      const uint64_t b = a + kOperandBytes / 16;
      WgmmaFence();
      for (int part = 0; part < 4; ++part) {
        Wgmma<Half, 64>(sum, NextDescriptor(a, part), NextDescriptor(b, part));
      }
      WgmmaCommit();
      if (kPlant == PlantCluster::kEarlyPeerArrive) release(stage, rank ^ 1);
      WgmmaWait<0>();
      release(stage, rank);
      if (kPlant != PlantCluster::kEarlyPeerArrive && kPlant != PlantCluster::kMissingPeerArrive) {
        release(stage, rank ^ 1);
      }
    }
    for (int i = 0; i < 32; ++i) {
      const int row = warp * 16 + i / 2 % 2 * 8 + lane / 4, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
      c[(rank * 64 + row) * 64 + column] = sum[i];
    }
  }
  if (kPlant != PlantCluster::kMissingEndBarrier) {
    __syncwarp();
    ClusterBarrier();
  }
}

template <PlantCluster... kPlants>
struct Table {
  static constexpr void (*kKernels[])(const Maps, float*) = {&Planted<kPlants>...};
};

using Plants = Table<PlantCluster::kNothing, PlantCluster::kMissingPeerArrive, PlantCluster::kEarlyPeerArrive,
                     PlantCluster::kWrongRank, PlantCluster::kMissingEmptyWait, PlantCluster::kHalfBytes,
                     PlantCluster::kMissingSetupBarrier, PlantCluster::kMissingEndBarrier>;

}  // namespace

cudaError_t LaunchPlantedCluster(PlantCluster plant, const Half* a, const Half* b, float* c) {
  cudaSetDevice(0);  // The one that a test of failures may have lost.
  constexpr uint64_t kInner = kPlantClusterInner, kRow = 2 * kInner;
  Maps maps;
  const TiledArray rows = {a, {kInner, 128, 1, 1}, {kRow, 128 * kRow, 128 * kRow}, {64, 64, 1, 1}};
  const TiledArray columns = {b, {kInner, 64, 1, 1}, {kRow, 64 * kRow, 64 * kRow}, {64, 32, 1, 1}};
  if (const auto error = EncodeTiled(rows, Precision::kFp16, &maps.a); error != cudaSuccess) return error;
  if (const auto error = EncodeTiled(columns, Precision::kFp16, &maps.b); error != cudaSuccess) return error;
  return LaunchClusters(Plants::kKernels[static_cast<int>(plant)], kBlocks, 1, dim3(kThreads), kSharedBytes,
                        cudaStream_t{}, maps, c);
}

}  // namespace repvgg::emulator
