// Shared parts of the fused F(2x2, 3x3) kernels: transforms and products run in one kernel, and the
// transformed domain (16 positions x tiles x channels) never leaves the block.
#pragma once

#include "cuda/block_place.cuh"
#include "cuda/element.cuh"
#include "cuda/winograd.cuh"
#include "cuda/winograd_f2.h"

namespace repvgg::cuda {

inline constexpr int kPositions = kPositionsOf<2>;

// The double-buffered main loop. `load_weights` issues cp.async copies; `load_inputs` loads into registers
// ahead of a step's products, and `store_inputs` transforms and stores to shared memory after them.
template <typename LoadWeights, typename LoadInputs, typename StoreInputs, typename Multiply>
REPVGG_DEVICE void RunSteps(int steps, LoadWeights load_weights, LoadInputs load_inputs,
                            StoreInputs store_inputs, Multiply multiply) {
  load_weights(0);
  load_inputs(0);
  store_inputs(0);
  for (int step = 0; step < steps; ++step) {
    CpAsyncWait<0>();
    // This step's operands are complete, and all threads have read the previous stage, which is filled next.
    __syncthreads();
    if (step + 1 < steps) {
      load_weights(step + 1);
      load_inputs(step + 1);
    }
    multiply(step);
    if (step + 1 < steps) store_inputs(step + 1);
  }
}

// The epilogue: the outputs of one tile at kChannels adjacent channels, from its sums at the 16 positions.
template <Precision kPrecision, int kChannels>
REPVGG_DEVICE void WriteTile(const Convolution& layer, int tile, int channel,
                             const float (&sums)[kChannels][kPositions]) {
  float out[kChannels][2][2];
#pragma unroll
  for (int e = 0; e < kChannels; ++e) {
    TransformOutput<2>(sums[e], out[e]);
    const float bias = layer.bias[channel + e];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float& value = out[e][i / 2][i % 2];
      value += bias;
      if (layer.relu) value = Relu(value);
    }
  }
  const TilePlace<2> place(layer, tile);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int y = place.y + i / 2, x = place.x + i % 2;
    if (y >= layer.height || x >= layer.width) continue;
    auto* const to =
        static_cast<Element<kPrecision>*>(layer.out) +
        ((static_cast<size_t>(place.image) * layer.height + y) * layer.width + x) * layer.out_channels +
        channel;
    if constexpr (kChannels == 4) {
      *reinterpret_cast<float4*>(to) =
          make_float4(out[0][i / 2][i % 2], out[1][i / 2][i % 2], out[2][i / 2][i % 2], out[3][i / 2][i % 2]);
    } else {
      StorePair<kPrecision>(to, out[0][i / 2][i % 2], out[1][i / 2][i % 2]);
    }
  }
}

}  // namespace repvgg::cuda
