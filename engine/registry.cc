#include "engine/registry.h"

#include "cpu/cpu_backend.h"
#include "engine/error.h"

namespace repvgg {

std::unique_ptr<Backend> CreateBackend(const std::string& name, const BackendOptions& options) {
  if (name == "cpu") return CreateCpuBackend(options);
  throw Error("ERR_DEVICE_UNAVAILABLE", "This build has no backend called \"" + name + "\".");
}

}  // namespace repvgg
