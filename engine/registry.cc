#include "engine/registry.h"

#include "cpu/cpu_backend.h"
#include "engine/error.h"

#ifdef REPVGG_CUDA
#include "cuda/cuda_backend.h"
#endif

namespace repvgg {

std::unique_ptr<Backend> CreateBackend(const std::string& name, const BackendOptions& options) {
  if (name == "cpu") return CreateCpuBackend(options);
#ifdef REPVGG_CUDA
  if (name.starts_with("cuda")) return CreateCudaBackend(name, options);
#endif
  throw Error("ERR_DEVICE_UNAVAILABLE", "This build has no backend called \"" + name + "\".");
}

}  // namespace repvgg
