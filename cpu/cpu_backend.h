#pragma once

#include "engine/backend.h"

namespace repvgg {

// Runs networks in fp32 on the process's own cores.
std::unique_ptr<Backend> CreateCpuBackend(const BackendOptions& options);

}  // namespace repvgg
