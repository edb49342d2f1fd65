// What the tensor cores do when nothing else holds them up.
#pragma once

#include "cuda/runtime.h"

namespace repvgg::gpu {

// Multiplies random fp16 values from shared memory (sm_90a, by wgmma) or registers (by mma.sync) over and
// over, on every multiprocessor. Two operations for each multiply-add, of the whole launch. `out` takes 4
// bytes for each thread: 512 a multiprocessor.
double PeakOperations(int multiprocessors, bool sm90a);
cudaError_t LaunchPeak(int multiprocessors, bool sm90a, float* out, cudaStream_t stream);

}  // namespace repvgg::gpu
