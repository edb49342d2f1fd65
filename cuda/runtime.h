// The CUDA runtime's host API. With the emulator it comes from test/emulator/runtime_emulated.h.
#pragma once

#ifdef REPVGG_EMULATOR
#include "test/emulator/runtime_emulated.h"
#else
#include <cuda_runtime_api.h>
#endif
