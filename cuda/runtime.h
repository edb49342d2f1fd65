// The CUDA runtime's host types, for headers that are not kernels: with the emulator there is no runtime.
#pragma once

#ifdef REPVGG_EMULATOR
#include "test/emulator/runtime_emulated.h"
#else
#include <cuda_runtime_api.h>
#endif
