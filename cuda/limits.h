// A GPU's measured peak rates, for `repvgg bench` to compare with.
#pragma once

#include "cuda/convolution.h"

namespace repvgg::cuda {

// In 1e9 per second. A multiply-add counts as two operations.
struct Limits {
  const char* matrix_instruction = "";  // "wgmma", "mma.sync" or "wmma".
  double fma_gflops = 0;                // fp32 multiply-adds on registers.
  double matrix_gflops = 0;             // matrix_instruction, in the given precision; 0 in fp32.
  double copy_gbps = 0;                 // Bytes read and written by a copy within device memory.
  double l2_gbps = 0;  // Bytes read by all multiprocessors from L2: half of it, 16 MB at most.
};

// Measures device `index`, each loop for about `seconds`; the last two rates only with `memory`. Throws
// Error.
Limits MeasureLimits(int index, Precision precision, double seconds, bool memory);

}  // namespace repvgg::cuda
