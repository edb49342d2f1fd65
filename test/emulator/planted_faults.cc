#include "test/emulator/planted_faults.h"

#include "cuda/launch.cuh"

namespace repvgg::emulator {
namespace {

using namespace cuda;

constexpr int kInnerTile = 32;
constexpr int kPitch = kInnerTile + 8;  // In halves: rows start 20 words apart, in different banks.
constexpr int kStageRows = kPlantRows + kPlantColumns;
constexpr int kStages = 2;
constexpr int kThreads = 64;
constexpr int kSteps = kPlantInner / kInnerTile;
constexpr int kBytes = kStages * kStageRows * kPitch * 2;

template <Plant kPlant>
__global__ void Planted(Half* a, const Half* b, float* c) {
  Half* const shared = reinterpret_cast<Half*>(SharedMemory());
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const auto load = [&](int step) {
    Half* const stage = shared + step % kStages * kStageRows * kPitch;
    for (int i = thread; i < kStageRows * kInnerTile / 8; i += kThreads) {
      const int row = i / (kInnerTile / 8), column = i % (kInnerTile / 8) * 8;
      const Half* from = row < kPlantRows ? a + row * kPlantInner : b + (row - kPlantRows) * kPlantInner;
      CpAsync<16>(stage + row * kPitch + column, from + step * kInnerTile + column, true);
    }
    CpAsyncCommit();
  };

  float sum[2][4] = {};
  load(0);
  for (int step = 0; step < kSteps; ++step) {
    if (step + 1 < kSteps) {
      load(step + 1);
      CpAsyncWait<kPlant == Plant::kMissingWait ? 2 : 1>();
    } else {
      CpAsyncWait<0>();
    }
    if (kPlant != Plant::kMissingBarrier) __syncthreads();
    const Half* const stage = shared + step % kStages * kStageRows * kPitch;
    for (int k = 0; k < kInnerTile; k += 16) {
      uint32_t fragment_a[4], fragment_b[4];
      LdMatrixX4(fragment_a, stage + (warp * 16 + lane % 16) * kPitch + k + lane / 16 * 8);
      const int skip = kPlant == Plant::kMisaligned ? 1 : 0;
      LdMatrixX4(fragment_b,
                 stage + (kPlantRows + lane % 8 + lane / 16 * 8) * kPitch + k + lane / 8 % 2 * 8 + skip);
      const uint32_t left[2] = {fragment_b[0], fragment_b[1]}, right[2] = {fragment_b[2], fragment_b[3]};
      if (kPlant == Plant::kDivergentWarp && lane == 7) continue;
      Mma<Half>(sum[0], fragment_a, left);
      Mma<Half>(sum[1], fragment_a, right);
    }
    if (kPlant == Plant::kDivergentBarrier && warp == 1 && step == 1) return;
    if (kPlant != Plant::kMissingReuseBarrier) __syncthreads();
  }

  // Each warp lays its 16 rows out in shared memory and writes them in order.
  float* const tile = reinterpret_cast<float*>(shared) + warp * 16 * kPlantColumns;
  const int g = lane / 4, t = lane % 4;
  __syncthreads();
  for (int half = 0; half < 2; ++half) {
    for (int e = 0; e < 4; ++e) {
      int row = g + e / 2 * 8;
      if (kPlant == Plant::kWrongIndex && row < 2) row = 1 - row;
      if (kPlant == Plant::kUninitialised && row == 3) continue;
      tile[row * kPlantColumns + half * 8 + 2 * t + e % 2] = sum[half][e];
    }
  }
  if (kPlant != Plant::kMissingWarpBarrier) __syncwarp();
  for (int i = lane; i < 16 * kPlantColumns; i += 32) {
    int from = i;
    if (kPlant == Plant::kUninitialised) from += 2 * 16 * kPlantColumns;
    if (kPlant == Plant::kSharedOverrun && i == 255) from = kBytes / 4 + 8;
    int to = warp * 16 * kPlantColumns + i;
    if (kPlant == Plant::kGlobalOverrun && to == 511) ++to;
    c[to] = tile[from];
    if (kPlant == Plant::kOutputTwice && i == 0) c[to] = tile[from];
  }
  if (kPlant == Plant::kInputWritten && thread == 5) a[9] = Half{0};
  if (kPlant == Plant::kLocalOverrun) {
    float local[4] = {sum[0][0], sum[0][1], sum[0][2], sum[0][3]};
    c[0] = local[4 + thread / 64 + (b[0].bits & 0)];
  }
}

template <Plant... kPlants>
struct Table {
  static constexpr void (*kKernels[])(Half*, const Half*, float*) = {&Planted<kPlants>...};
};

using Plants =
    Table<Plant::kNothing, Plant::kWrongIndex, Plant::kMissingWait, Plant::kMissingBarrier,
          Plant::kMissingReuseBarrier, Plant::kMissingWarpBarrier, Plant::kSharedOverrun,
          Plant::kGlobalOverrun, Plant::kUninitialised, Plant::kMisaligned, Plant::kLocalOverrun,
          Plant::kInputWritten, Plant::kOutputTwice, Plant::kDivergentWarp, Plant::kDivergentBarrier>;

}  // namespace

void LaunchPlanted(Plant plant, Half* a, const Half* b, float* c) {
  Launch(Plants::kKernels[static_cast<int>(plant)], dim3(1), dim3(kThreads), kBytes, cudaStream_t{}, a, b, c);
}

}  // namespace repvgg::emulator
