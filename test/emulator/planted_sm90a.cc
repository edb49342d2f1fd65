#include "test/emulator/planted_sm90a.h"

#include <utility>

#include "cuda/launch.cuh"
#include "cuda/ptx_sm90a.cuh"

namespace repvgg::emulator {
namespace {

using namespace cuda;

constexpr int kStages = 2;
constexpr int kOperandBytes = 64 * 128;
constexpr int kStageBytes = 2 * kOperandBytes;
constexpr int kStoreOffset = kStages * kStageBytes;
constexpr int kBarrierOffset = kStoreOffset + 64 * 128;
constexpr int kSteps = kPlantSm90aInner / 64;
constexpr int kThreads = 160;  // Four warps that multiply, and one that loads.

struct Maps {
  TensorMap a, b, c;
};

template <PlantSm90a kPlant>
__global__ void Planted(const __grid_constant__ Maps maps) {
  unsigned char* const shared = SharedMemory();
  uint64_t* const full = reinterpret_cast<uint64_t*>(shared + kBarrierOffset);
  uint64_t* const empty = full + kStages;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage)
      MbarrierInit(full + stage, 1), MbarrierInit(empty + stage, 4);
    MbarrierInitFence();
  }
  __syncthreads();
  if (warp == 4) {
    if (lane != 0) return;
    for (int step = 0; step < kSteps; ++step) {
      const int stage = step % kStages, turn = step / kStages & 1;
      unsigned char* const to = shared + stage * kStageBytes;
      if (kPlant != PlantSm90a::kMissingEmptyWait) MbarrierWait(empty + stage, turn ^ 1);
      MbarrierArriveExpect(full + stage, kStageBytes + (kPlant == PlantSm90a::kWrongBytes ? 16 : 0));
      TmaLoad(to, maps.a, step * 64, 0, 0, 0, full + stage);
      TmaLoad(to + kOperandBytes, maps.b, step * 64, 0, 0, 0, full + stage);
    }
    return;
  }

  float sum[32] = {};
  if (kPlant != PlantSm90a::kMissingProductFence) WgmmaFence();
  for (int step = 0; step < kSteps; ++step) {
    const int stage = step % kStages;
    const unsigned turn = step / kStages & 1;
    if (kPlant != PlantSm90a::kMissingFullWait) {
      MbarrierWait(full + stage, kPlant == PlantSm90a::kWrongPhase ? turn ^ 1 : turn);
    }
    uint64_t a = MatrixDescriptor(SharedAddress(shared + stage * kStageBytes)), b = a + kOperandBytes / 16;
    if (kPlant == PlantSm90a::kWrongBlocks) a -= uint64_t{512 >> 4} << 32;
    for (int part = 0; part < 4; ++part) {
      const int wrong = kPlant == PlantSm90a::kWrongDescriptor && part >= 2 ? 1 : 0;
      Wgmma<Half, 64>(sum, NextDescriptor(a, part) - wrong, NextDescriptor(b, part));
    }
    WgmmaCommit();
    if (kPlant == PlantSm90a::kEarlyRelease) {
      if (lane == 0) MbarrierArrive(empty + stage);
      WgmmaWait<0>();
    } else {
      if (kPlant != PlantSm90a::kMissingProductWait || step + 1 < kSteps) WgmmaWait<0>();
      if (lane == 0) MbarrierArrive(empty + stage);
    }
    if (step + 1 < kSteps) WgmmaFence();
  }

  constexpr bool kOver = kPlant == PlantSm90a::kStoreOverOperand;
  unsigned char* const tile =
      shared + (kOver ? (kSteps - 1) % kStages * kStageBytes + kOperandBytes : kStoreOffset);
  for (int copy = 0; copy < 2; ++copy) {
    if (kPlant != PlantSm90a::kMissingStoreWait && threadIdx.x == 0) TmaStoreWaitRead();
    if (!kOver || copy > 0) NamedBarrier(1, 128);
    for (int block = 0; block < 8; block += 2) {
      const int row = warp * 16 + lane % 16;
      StMatrixX4(tile + SwizzledByte(row * 128 + (block + lane / 16) * 16, 128),
                 Pack<Half>(sum[block * 4], sum[block * 4 + 1]),
                 Pack<Half>(sum[block * 4 + 2], sum[block * 4 + 3]),
                 Pack<Half>(sum[block * 4 + 4], sum[block * 4 + 5]),
                 Pack<Half>(sum[block * 4 + 6], sum[block * 4 + 7]));
    }
    if (kPlant != PlantSm90a::kMissingProxyFence) FenceForTma();
    if (kPlant != PlantSm90a::kMissingStoreBarrier) NamedBarrier(1, 128);
    if (threadIdx.x == 0) {
      TmaStore(maps.c, 0, 0, copy, 0, tile);
      TmaStoreCommit();
    }
  }
  if (threadIdx.x == 0) TmaStoreWait();
  if (kPlant == PlantSm90a::kMissingProductWait) WgmmaWait<0>();
}

template <PlantSm90a... kPlants>
struct Table {
  static constexpr void (*kKernels[])(const Maps) = {&Planted<kPlants>...};
};

using Plants =
    Table<PlantSm90a::kNothing, PlantSm90a::kMissingFullWait, PlantSm90a::kWrongPhase,
          PlantSm90a::kMissingEmptyWait, PlantSm90a::kMissingProductWait, PlantSm90a::kEarlyRelease,
          PlantSm90a::kMissingProductFence, PlantSm90a::kWrongDescriptor, PlantSm90a::kWrongBlocks,
          PlantSm90a::kWrongBytes, PlantSm90a::kMissingProxyFence, PlantSm90a::kMissingStoreBarrier,
          PlantSm90a::kMissingStoreWait, PlantSm90a::kStoreOverOperand>;

}  // namespace

cudaError_t LaunchPlantedSm90a(PlantSm90a plant, const Half* a, const Half* b, Half* c) {
  cudaSetDevice(0);  // The one that a test of failures may have lost.
  constexpr uint64_t kInner = kPlantSm90aInner, kRow = 2 * kInner;
  Maps maps;
  const auto operand = [](const Half* base) {
    return TiledArray{base, {kInner, 64, 1, 1}, {kRow, 64 * kRow, 64 * kRow}, {64, 64, 1, 1}};
  };
  const TiledArray product = {c, {64, 64, 2, 1}, {128, 64 * 128, 2 * 64 * 128}, {64, 64, 1, 1}};
  for (const auto& [array, map] :
       {std::pair(operand(a), &maps.a), {operand(b), &maps.b}, {product, &maps.c}}) {
    if (const auto error = EncodeTiled(array, Precision::kFp16, map); error != cudaSuccess) return error;
  }
  return Launch(Plants::kKernels[static_cast<int>(plant)], dim3(1), dim3(kThreads),
                kBarrierOffset + 2 * kStages * 8, cudaStream_t{}, maps);
}

}  // namespace repvgg::emulator
