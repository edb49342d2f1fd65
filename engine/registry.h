#pragma once

#include <memory>
#include <string>

#include "engine/backend.h"

namespace repvgg {

// Creates the backend called `name` ("cpu", "cuda", "cuda:N"). Throws Error{ERR_DEVICE_UNAVAILABLE} when this
// build has none of that name or its device cannot be used.
std::unique_ptr<Backend> CreateBackend(const std::string& name, const BackendOptions& options);

}  // namespace repvgg
