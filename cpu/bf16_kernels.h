// bfloat16 convolution on the CPU: products of bf16 pairs added up in fp32, by AMX tiles (bf16_amx.cc) or by
// AVX-512's dot products (bf16_avx512.cc). Layout of activations as in kernels.h.
//
// The runs of a window (Convolution, in kernels.h) are cut into steps of 32 values; what the last step of a
// run reads beyond it meets zero weights.
#pragma once

#include <cstddef>
#include <string>

#include "cpu/bf16.h"
#include "cpu/kernels.h"

namespace repvgg::cpu {

constexpr int kBf16Step = 32;        // Values of one step.
constexpr int kBf16BlockWidth = 32;  // Output channels of one block.

struct Bf16Convolution : ConvolutionShape {
  int steps = 0;
  const WindowRun* step = nullptr;  // [steps], for the first group

  // [group][block][step][half of the block: 16 channels][pair of values: 16][channel: 16][value of the pair:
  // 2]
  const Bf16* weight = nullptr;
  const float* bias = nullptr;  // [group][block][channel of the block]
};

struct Bf16Kernels {
  const char* name;
  int most_pixels;  // In one row of a call.

  // Called by a thread before and after a series of calls of `convolve` with rows of `pixels` pixels.
  void (*begin)(int pixels);
  void (*end)();

  // Computes one block of one group for two rows of pixels (the second null for one row).
  void (*convolve)(const Bf16Convolution& convolution, ptrdiff_t in_row, int group, int block,
                   const Pixels<Bf16>& first, const Pixels<Bf16>& second, int pixels, bool relu);

  MapKernels<Bf16> maps;
};

// Null where the compiler cannot target the instructions.
extern const Bf16Kernels* const kAmxKernels;
extern const Bf16Kernels* const kAvx512Bf16Kernels;

// The best that this processor and system can run, the named one ("amx", "avx512bf16"), or null.
const Bf16Kernels* SelectBf16Kernels(const std::string& name);

}  // namespace repvgg::cpu
