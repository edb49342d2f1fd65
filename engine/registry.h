// The backends of this build. engine/registry.cc alone knows which there are.
#pragma once

#include <memory>
#include <string>

#include "engine/backend.h"
#include "engine/devices.h"

namespace repvgg {

// Creates the backend called `name` ("cpu", "cuda", "cuda:N"). Throws Error{ERR_DEVICE_UNAVAILABLE} when this
// build has none of that name or its device cannot be used.
std::unique_ptr<Backend> CreateBackend(const std::string& name, const BackendOptions& options);

CpuDescription DescribeCpu();

// Works without a driver: the status then tells why there are no devices.
CudaStatus DescribeCuda();

struct LimitsOptions {
  Precision precision = Precision::kFp32;  // Of a GPU: whose matrix instructions.
  int threads = 1;                         // Of the CPU.
  double seconds = 0;                      // For each loop, about.
  bool copy = false;                       // Also the copies, and on a GPU the reads from L2.
};

// Measures the peak rates of the device of that name; cpu/limits.h and cuda/limits.h say how. Throws Error.
DeviceLimits MeasureLimits(const std::string& name, const LimitsOptions& options);

// Of the GPU at `index`; nothing in a build without CUDA.
CudaCounters ReadCudaCounters(int index);

}  // namespace repvgg
