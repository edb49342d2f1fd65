// The multistage cp.async pipeline of mma_tile.cuh and fp32_tile.cuh: loads run kStages - 1 steps ahead of
// the products, with one barrier per step.
#pragma once

#include "cuda/ptx.cuh"

namespace repvgg::cuda {

// The prologue: fills all stages but one. `load(step, stage)` issues this thread's copies of a step.
template <int kStages, typename Load>
REPVGG_DEVICE void StartPipeline(int steps, Load load) {
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < steps) load(stage, stage);
    CpAsyncCommit();
  }
}

// The main loop. `multiply(step, stage)` computes a step's products.
template <int kStages, typename Load, typename Multiply>
REPVGG_DEVICE void RunPipeline(int steps, Load load, Multiply multiply) {
  int read = 0, write = kStages - 1;
  for (int step = 0; step < steps; ++step) {
    CpAsyncWait<kStages - 2>();
    // All threads' copies of this step have landed, and all threads have read the stage that is filled next.
    __syncthreads();
    if (step + kStages - 1 < steps) load(step + kStages - 1, write);
    CpAsyncCommit();
    multiply(step, read);
    read = read + 1 == kStages ? 0 : read + 1;
    write = write + 1 == kStages ? 0 : write + 1;
  }
}

}  // namespace repvgg::cuda
