#include "cuda/device.h"

#include <cuda_runtime_api.h>

#include <sstream>

namespace repvgg {
namespace {

// What the kernels need at least: tensor cores.
constexpr int kOldestArchitecture = 70;

std::string Problem(const CudaDevice& device) {
  if (device.architecture < kOldestArchitecture) {
    return "its compute capability is " + device.compute_capability +
           ", and 7.0 is the least that is supported";
  }
  if (!HasKernels(REPVGG_CUDA_ARCHITECTURES, device.architecture)) {
    return "this build has no kernels for its compute capability " + device.compute_capability +
           " (only for " REPVGG_CUDA_ARCHITECTURES ")";
  }
  return "";
}

}  // namespace

// Machine code runs on its own major version from its minor version on, and with an "a" on exactly its own;
// PTX on all that are not older.
bool HasKernels(const std::string& architectures, int architecture) {
  std::istringstream list(architectures);
  for (std::string entry; std::getline(list, entry, ',');) {
    const int compiled = std::stoi(entry);
    if (entry.find("a-") != std::string::npos) {
      if (compiled == architecture) return true;
    } else if (entry.ends_with("-virtual")) {
      if (compiled <= architecture) return true;
    } else if (compiled / 10 == architecture / 10 && compiled <= architecture) {
      return true;
    }
  }
  return false;
}

CudaStatus QueryCuda() {
  CudaStatus status;
  status.runtime_version = CUDART_VERSION;
  int count = 0;
  cudaError_t error = cudaDriverGetVersion(&status.driver_version);
  if (error == cudaSuccess) error = cudaGetDeviceCount(&count);
  for (int i = 0; i < count && error == cudaSuccess; ++i) {
    cudaDeviceProp properties;
    error = cudaGetDeviceProperties(&properties, i);
    if (error != cudaSuccess) break;
    CudaDevice device;
    device.name = properties.name;
    device.compute_capability = std::to_string(properties.major) + "." + std::to_string(properties.minor);
    device.architecture = properties.major * 10 + properties.minor;
    device.memory_bytes = properties.totalGlobalMem;
    device.multiprocessors = properties.multiProcessorCount;
    device.l2_bytes = properties.l2CacheSize;
    device.problem = Problem(device);
    status.devices.push_back(device);
  }
  if (error != cudaSuccess) {
    status.error = std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
    cudaGetLastError();  // Not sticky: the next call starts clean.
  }
  return status;
}

}  // namespace repvgg
