#include "engine/registry.h"

#include "cpu/bf16_kernels.h"
#include "cpu/cpu_backend.h"
#include "cpu/kernels.h"
#include "cpu/limits.h"
#include "cuda/counters.h"
#include "cuda/cuda_backend.h"
#include "cuda/device.h"
#include "cuda/limits.h"
#include "engine/error.h"

namespace repvgg {
namespace {

Error NoBackend(const std::string& name) {
  return Error("ERR_DEVICE_UNAVAILABLE", "There is no backend called \"" + name + "\".");
}

}  // namespace

std::unique_ptr<Backend> CreateBackend(const std::string& name, const BackendOptions& options) {
  if (name == "cpu") return CreateCpuBackend(options);
  if (name.starts_with("cuda")) return CreateCudaBackend(name, options);
  throw NoBackend(name);
}

CpuDescription DescribeCpu() {
  const cpu::Bf16Kernels* const bf16 = cpu::SelectBf16Kernels("");
  return {cpu::SupportedInstructionSets(), bf16 == nullptr ? "" : bf16->name};
}

CudaStatus DescribeCuda() { return QueryCuda(); }

DeviceLimits MeasureLimits(const std::string& name, const LimitsOptions& options) {
  const auto& [precision, threads, seconds, copy] = options;
  if (name == "cpu") return cpu::MeasureLimits(threads, seconds, copy);
  if (!name.starts_with("cuda")) throw NoBackend(name);
  return cuda::MeasureLimits(FindCudaDevice(name, QueryCuda()).index, precision, seconds, copy);
}

CudaCounters ReadCudaCounters(int index) { return cuda::ReadCounters(index); }

}  // namespace repvgg
