#pragma once

#include "engine/backend.h"

namespace repvgg {

// Runs networks on the process's own cores, in fp32 and bf16, and simulates fp8. Throws
// Error{ERR_PRECISION_UNSUPPORTED} where the processor lacks the instructions.
std::unique_ptr<Backend> CreateCpuBackend(const BackendOptions& options);

}  // namespace repvgg
