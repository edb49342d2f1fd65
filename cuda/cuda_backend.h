#pragma once

#include <memory>
#include <string>

#include "engine/backend.h"

namespace repvgg {

// `name` is "cuda" or "cuda:N". Throws Error{ERR_DEVICE_UNAVAILABLE} with the reason, and
// Error{ERR_PRECISION_UNSUPPORTED} if the device or this build lacks the instructions. Layers are measured
// when they are loaded, unless the environment has REPVGG_TUNE=off.
std::unique_ptr<Backend> CreateCudaBackend(const std::string& name, const BackendOptions& options);

}  // namespace repvgg
