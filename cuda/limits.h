// What a GPU can do at best, measured: what results of `repvgg bench` are held against.
#pragma once

#include "cuda/convolution.h"

namespace repvgg::cuda {

// 1e9 a second. A multiply-add is two operations.
struct Limits {
  const char* matrix_instruction = "";  // "wgmma", "mma.sync" or "wmma".
  double fma_gflops = 0;                // fp32 multiply-adds between registers.
  double matrix_gflops = 0;             // Of that instruction, in the given precision; 0 in fp32.
  double copy_gbps = 0;  // Bytes read and written by a copy from device memory to device memory.
  double l2_gbps = 0;  // Bytes read by all multiprocessors, again and again, from half of L2, 16 MB at most.
};

// Of device `index`. Each loop runs for about `seconds`; `memory` asks for the last two as well. Throws
// Error.
Limits MeasureLimits(int index, Precision precision, double seconds, bool memory);

}  // namespace repvgg::cuda
