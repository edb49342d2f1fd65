// Takes the place of cuda/ in a build without a CUDA toolkit.
#include <string>

#include "cuda/counters.h"
#include "cuda/cuda_backend.h"
#include "cuda/device.h"
#include "cuda/limits.h"
#include "engine/error.h"

namespace repvgg {
namespace {

Error NotBuilt(const std::string& name) {
  return Error("ERR_DEVICE_UNAVAILABLE",
               "Cannot use \"" + name + "\": this build of the addon has no CUDA backend.");
}

}  // namespace

std::unique_ptr<Backend> CreateCudaBackend(const std::string& name, const BackendOptions&) {
  throw NotBuilt(name);
}

CudaStatus QueryCuda() { return {}; }

CudaDevice FindCudaDevice(const std::string& name, const CudaStatus&) { throw NotBuilt(name); }

namespace cuda {

DeviceLimits MeasureLimits(int, Precision, double, bool) { throw NotBuilt("cuda"); }

CudaCounters ReadCounters(int) { return {}; }

}  // namespace cuda
}  // namespace repvgg
